"""A trained model in a store and a registry, without the training: for tests of what comes after.

The model, the split, the store and the registry are real; what the manifests say of the training
and the evaluation is written here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ft_assets.assets.step import input_records
from ft_assets.config import load_pipeline
from ft_assets.data.split import split
from ft_assets.evaluation.summary import EvaluationSummary, HeldOutSummary, ModelSummary
from ft_assets.provenance.digest import files_digest
from ft_assets.provenance.record import ProvenanceRecord
from ft_assets.training.base_model import locate
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import make_plan
from resources.registry import EmbeddedRegistry, RegisteredVersion, Registration
from resources.store import Artifact, ArtifactStore
from tests.support.tiny_pipeline import MODEL_NAME, NAME, TinyPipeline

DROP = "drop-1"
SUMMARY = EvaluationSummary(
    models={
        "base": ModelSummary(
            held_out=HeldOutSummary(
                loss=3.9,
                loss_stderr=0.2,
                perplexity=49.4,
                perplexity_stderr=9.0,
                token_accuracy=0.3,
                token_accuracy_stderr=0.02,
                rows=8,
                tokens=558,
                truncated=0,
                skipped=0,
            ),
            tasks={"arc_easy": {"acc": 0.51, "acc_stderr": 0.01}},
        ),
        "tuned": ModelSummary(
            held_out=HeldOutSummary(
                loss=2.5,
                loss_stderr=0.1,
                perplexity=12.2,
                perplexity_stderr=1.8,
                token_accuracy=0.5,
                token_accuracy_stderr=0.03,
                rows=8,
                tokens=558,
                truncated=2,
                skipped=1,
                skip_reasons={"no assistant turn": 1},
                exact_match=0.25,
                exact_match_stderr=0.1,
                rouge_l=0.61,
                rouge_l_stderr=0.05,
                chrf=0.58,
                chrf_stderr=0.04,
                generated=4,
            ),
            tasks={
                "arc_easy": {"acc": 0.52, "acc_stderr": 0.01},
                "gsm8k": {"exact_match,strict-match": 0.11, "exact_match_stderr,strict-match": 0.0},
            },
        ),
    },
    higher_is_better={"arc_easy": {"acc": True}},
    partial=False,
)
VERDICT: dict[str, Any] = {
    "passed": True,
    "reason": "Better than its base model on the held-out rows.",
    "reasons": ["held_out, loss: 2.5 against 3.9 of the base model."],
    "comparisons": [
        {
            "task": "held_out",
            "metric": "loss",
            "against": "base",
            "rule": "better",
            "other": 3.9,
            "candidate": 2.5,
            "difference": -1.4,
            "low": -1.6,
            "high": -1.2,
            "p_value": 0.0001,
            "samples": 8,
            "passed": True,
            "reason": "held_out, loss: 2.5 against 3.9 of the base model.",
        }
    ],
    "overruled": None,
}


@dataclass(frozen=True)
class Published:
    """What was published and registered."""

    pipeline: TinyPipeline
    raw: Artifact
    split: Artifact
    model: Artifact
    report: Artifact
    version: RegisteredVersion

    @property
    def store(self) -> ArtifactStore:
        return self.pipeline.store


def publish_model(pipeline: TinyPipeline, base_model: Path, adapter: bool = False) -> Published:
    """Publish a model that was "trained" into ``base_model``'s very weights, and register it."""
    store, rows = pipeline.store, pipeline.root / "rows.jsonl"
    rows.write_text("".join(f"{_row(line)}\n" for line in _examples(pipeline)))
    raw = _publish(store, "raw_dataset", [], rows=rows, **_raw_metadata(pipeline))
    halves = pipeline.root / "split"
    report = split(rows, halves, ratio=0.8, seed=42, subset=0, near_duplicates=0.8)
    divided = _publish(
        store, "split_dataset", [raw], folder=halves, report=report.model_dump(mode="json")
    )
    model = _publish_trained(store, pipeline, divided, base_model, adapter=adapter)
    results = pipeline.root / "results"
    results.mkdir()
    (results / "results.json").write_text(SUMMARY.model_dump_json())
    (results / "verdict.json").write_text(json.dumps(VERDICT))
    (results / "samples").mkdir()
    (results / "samples" / "held_out.jsonl").write_text('{"id": "1", "answer": "private"}\n')
    evaluated = _publish(
        store,
        "eval_report",
        [divided, model],
        folder=results,
        summary=SUMMARY.model_dump(mode="json"),
        verdict=VERDICT,
        worst_regressions=[{"task": "held_out", "answer": "private"}],
        model_data_version=model.data_version,
    )
    version = EmbeddedRegistry(path=str(pipeline.home / "registry.db")).register(
        Registration(
            model=MODEL_NAME,
            digest=model.data_version,
            uri=f"{model.uri}/model",
            author="test",
            properties={"eval_report.digest": evaluated.digest},
        )
    )
    return Published(pipeline, raw, divided, model, evaluated, version)


def _publish_trained(
    store: ArtifactStore, pipeline: TinyPipeline, divided: Artifact, base: Path, *, adapter: bool
) -> Artifact:
    spec = load_pipeline(pipeline.file).spec
    report: Any = divided.manifest.metadata["report"]
    plan = make_plan(
        spec.training,
        spec.kubernetes,
        base_model=locate(
            str(base), folder=base, models=base, chat_template=None, hf_token_env="HF_TOKEN"
        ),
        models_dir=pipeline.home / "models",
        train_file=divided.file("train.jsonl"),
        data_digest=report["train_digest"],
        train_rows=report["train_rows"],
    )
    outcome = TrainOutcome(
        model_dir="hf_format/samples_32",
        base_model_dir=str(base),
        steps=4,
        epochs=1.0,
        rows=report["train_rows"],
        rows_too_long=1,
        rows_untrained=0,
        rows_cut=0,
        tokens=1234,
        trained_tokens=567,
        train_seconds=7.2,
        tokens_per_second=171.4,
        first_loss=6.1,
        last_loss=5.2,
        peak_memory_mib=700.0,
        resumed_from_step=0,
        settings={"device": "cpu", "threads": 1},
    )
    folder = pipeline.root / "trained"
    shutil.copytree(base, folder / "model")
    if adapter:
        (folder / "model" / "adapter").mkdir()
        (folder / "model" / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "metrics.jsonl").write_text("{}\n")
    return _publish(
        store,
        "finetuned_model",
        [divided],
        folder=folder,
        fingerprint=plan.fingerprint,
        plan=plan.model_dump(mode="json"),
        outcome=outcome.model_dump(mode="json"),
        health=[],
    )


def _publish(
    store: ArtifactStore,
    asset: str,
    inputs: list[Artifact],
    *,
    folder: Path | None = None,
    rows: Path | None = None,
    **metadata: Any,
) -> Artifact:
    pipeline = load_pipeline(Path(store.root).parent.parent / "pipelines" / f"{NAME}.yaml")
    block = {"finetuned_model": "training", "eval_report": "evaluation"}.get(asset, "dataset")
    record = ProvenanceRecord(
        pipeline=NAME,
        asset=asset,
        partition=DROP,
        run_id="run-1",
        code_version="1",
        config=getattr(pipeline.spec, block).model_dump(mode="json"),
        inputs=input_records(inputs),
        started_at="2026-01-01T00:00:00+00:00",
    )
    metadata["provenance"] = record.model_dump(mode="json")
    with store.publish([NAME, asset], DROP, metadata=metadata) as draft:
        if rows is not None:
            shutil.copyfile(rows, draft.path / "rows.jsonl")
        if folder is not None:
            shutil.copytree(folder, draft.path, dirs_exist_ok=True)
        if asset == "finetuned_model":
            model = draft.path / "model"
            names = [str(p.relative_to(model)) for p in model.rglob("*") if p.is_file()]
            draft.data_version = files_digest(model, names)
    assert draft.artifact is not None
    return draft.artifact


def _examples(pipeline: TinyPipeline) -> list[str]:
    return (pipeline.data / f"{DROP}.jsonl").read_text().splitlines()


def _row(line: str) -> str:
    messages = json.loads(line)["messages"]
    turns = [{"content": turn["content"], "role": turn["role"]} for turn in messages]
    row = {"id": hashlib.sha256(line.encode()).hexdigest(), "messages": turns}
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False)


def _raw_metadata(pipeline: TinyPipeline) -> dict[str, Any]:
    file = pipeline.data / f"{DROP}.jsonl"
    content = file.read_bytes()
    rows = content.count(b"\n")
    return {
        "report": {
            "rows_read": rows,
            "dropped": {},
            "digest": hashlib.sha256(content).hexdigest(),
            "sensitive": {},
            "shapes": {"chat": rows},
            "roles": {"user": rows, "assistant": rows},
        },
        "source": {
            "uri": str(file),
            "revision": None,
            "files": [
                {
                    "name": file.name,
                    "size": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            ],
        },
    }
