"""The model card: the README.md of a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.cards import data, recipe
from ft_assets.cards.header import card, model_header
from ft_assets.cards.limits import limits
from ft_assets.cards.markdown import code, number, paragraphs, sections, table, text
from ft_assets.cards.places import hub_base_model, hub_datasets, public
from ft_assets.cards.results import HELD_OUT, Result, results
from ft_assets.cards.verdict import verdict_text
from ft_assets.evaluation.summary import EvaluationSummary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LORA = "lora_sft"
_ALGORITHMS = {"sft": "supervised fine-tuning", "osft": "OSFT", _LORA: "LoRA"}


def model_card(
    *,
    name: str,
    model: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
    raw: Mapping[str, Any] | None = None,
    verdict: Mapping[str, Any] | None = None,
    version: str | None = None,
    description: str = "",
    license_id: str | None = None,
    languages: Sequence[str] = (),
    tags: Sequence[str] = (),
    hardware: Mapping[str, str | int | float] | None = None,
    digests: Mapping[str, str] | None = None,
) -> str:
    """The README.md of a trained model.

    Args:
        name: of the model, in the registry or of its pipeline.
        model: metadata of the manifest of ``finetuned_model``.
        evaluation: that of ``eval_report``; without it the card says that nothing was measured.
        split: that of the ``split_dataset`` that the model was trained on.
        raw: that of the ``raw_dataset`` of this split.
        verdict: the court's; without it that in ``evaluation``.
        version: the registered one.
        description: what the model is for; becomes the intended use.
        license_id: as the hub names licences (``apache-2.0``), where it is known.
        languages: ISO 639 codes, where they are known.
        tags: for the hub.
        hardware: further facts by name: the container image, the energy in kWh, the cost.
        digests: of the artifacts behind the model, by what they are.

    Raises:
        UserError: the licence or a language is none that the hub takes.
    """
    plan: Mapping[str, Any] = model["plan"]
    record: Mapping[str, Any] = model["provenance"]
    summary = _summary(evaluation)
    found = results(summary) if summary is not None else []
    judged = verdict if verdict is not None else (evaluation or {}).get("verdict")
    header = model_header(
        name=name,
        base_model=hub_base_model(plan),
        datasets=hub_datasets(raw),
        license_id=license_id,
        languages=languages,
        tags=[str(plan["algorithm"]), *tags],
        results=found,
    )
    body = sections(
        [
            ("Verdict", verdict_text(judged)),
            ("Evaluation", _evaluation(summary, found)),
            ("Intended use", _intended_use(description)),
            (
                "Limits",
                limits(
                    model,
                    summary,
                    split,
                    license_known=license_id is not None,
                    languages_known=bool(languages),
                ),
            ),
            ("Data", _data(split, raw)),
            ("Training", recipe.training_table(model["outcome"])),
            ("Recipe", recipe.recipe_tables(plan, record["config"])),
            (
                "Hardware, software, energy and cost",
                recipe.machine_table(model["outcome"], record, hardware or {}),
            ),
            ("How to load it", _loading(plan)),
            ("Provenance", _provenance(name, version, model, digests or {})),
        ]
    )
    title = f"{name} {version}" if version else name
    return card(header, f"# {text(title)}\n\n{_introduction(plan, raw)}\n\n{body}")


def _summary(evaluation: Mapping[str, Any] | None) -> EvaluationSummary | None:
    return None if evaluation is None else EvaluationSummary.model_validate(evaluation["summary"])


def _introduction(plan: Mapping[str, Any], raw: Mapping[str, Any] | None) -> str:
    base: Mapping[str, Any] = plan["base_model"]
    shown = text(public(str(base["name"])))
    if base["kind"] == "hub":
        shown = f"{text(base['location'])} at revision {code(base['revision'])}"
    else:
        shown += (
            f" (no model of a hub: its sha256 digest, of all its files, is {code(base['digest'])})"
        )
    place = "" if raw is None else str(raw.get("source", {}).get("uri", ""))
    on = f", trained on {text(public(place))}" if place else ""
    how = _ALGORITHMS.get(plan["algorithm"], text(plan["algorithm"]))
    return f"A language model, made by {how} of {shown}{on}."


def _evaluation(summary: EvaluationSummary | None, found: Sequence[Result]) -> str:
    if summary is None or not found:
        return "Nothing was measured."
    champion = any(result.champion for result in found)
    heads = ["task", "metric", "better is", "this model", "±", "base model", "±", "difference"]
    rows: list[list[str]] = []
    for result in found:
        better = {True: "higher", False: "lower", None: ""}[result.higher_is_better]
        row = [
            "held-out rows" if result.task == HELD_OUT else text(result.task),
            text(result.metric),
            better,
            number(result.candidate.value),
            number(result.candidate.stderr),
            number(result.base.value if result.base else None),
            number(result.base.stderr if result.base else None),
            number(result.difference),
        ]
        if champion:
            row.append(number(result.champion.value if result.champion else None))
        rows.append(row)
    notes = [
        table([*heads, *(["champion before"] if champion else [])], rows),
        "± is the standard error. The loss is in nats per token of the assistant's turns; the "
        "perplexity is per token.",
    ]
    held_out = summary.models["tuned"].held_out
    if held_out is not None:
        notes.append(
            f"The held-out task has {number(held_out.rows)} rows with {number(held_out.tokens)} "
            f"tokens; answers were generated for {number(held_out.generated)} of them."
        )
    return "\n\n".join(notes)


def _intended_use(description: str) -> str:
    if description.strip():
        return paragraphs(description)
    return (
        "The owners of this model have not said what it is for. It continues chats like those it "
        "was trained on; for anything else, measure it first."
    )


def _data(split: Mapping[str, Any] | None, raw: Mapping[str, Any] | None) -> str:
    parts = [data.source(raw)]
    if split is not None:
        report: Mapping[str, Any] = split["report"]
        parts += [
            data.rows_table(raw, report),
            data.split_text(report),
            data.contamination_text(split.get("contamination")),
            data.sensitive_text(split["provenance"]["config"], raw),
            data.warnings_list(report),
        ]
    return "\n\n".join(part for part in parts if part)


def _loading(plan: Mapping[str, Any]) -> str:
    lines = [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'place = "."  # this folder, or the name of the repository on the hub',
        "tokenizer = AutoTokenizer.from_pretrained(place)",
        'model = AutoModelForCausalLM.from_pretrained(place, dtype="auto")',
        'chat = [{"role": "user", "content": "..."}]',
        "tokens = tokenizer.apply_chat_template(",
        '    chat, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        "answer = model.generate(**tokens, max_new_tokens=200)",
        'print(tokenizer.decode(answer[0, tokens["input_ids"].shape[1] :]))',
        "```",
    ]
    if plan["algorithm"] == _LORA:
        lines += [
            "",
            "The adapter is merged into these weights. It is also in the folder `adapter`, where "
            "the training backend keeps one, for use with peft over the base model.",
        ]
    return "\n".join(lines)


def _provenance(
    name: str, version: str | None, model: Mapping[str, Any], digests: Mapping[str, str]
) -> str:
    record: Mapping[str, Any] = model["provenance"]
    facts: dict[str, Any] = {
        "pipeline": record["pipeline"],
        "data drop": record["partition"],
        "run": record["run_id"],
        "trained from": record["started_at"],
        "fingerprint of the training": model["fingerprint"],
        "code version of the training": record["code_version"],
        "digest of the base model": model["plan"]["base_model"]["digest"],
        **{f"input {one['asset']}": one["digest"] for one in record["inputs"]},
        **dict(digests),
    }
    rows = [(text(what), code(value)) for what, value in facts.items() if value is not None]
    drop = f"@{record['partition']}" if record["partition"] else ""
    handle = f"{name}:{version}" if version else f"{record['pipeline']}/finetuned_model{drop}"
    return (
        f"{table(('what', 'value'), rows)}\n\n"
        "Whoever has the artifact store checks all of this, from the registered version back to "
        f"the source files, without a network: {code(f'ft verify {handle}')}."
    )
