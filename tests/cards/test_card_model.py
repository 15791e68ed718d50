"""A model card: a header that the hub's own parser takes, and everything a user has to know."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from ft_assets.cards import model_card, model_card_of
from resources.errors import UserError
from tests.support.published_model import SUMMARY, VERDICT

HEADINGS = [
    "Verdict",
    "Evaluation",
    "Intended use",
    "Limits",
    "Data",
    "Training",
    "Recipe",
    "Hardware, software, energy and cost",
    "How to load it",
    "Provenance",
]


@pytest.fixture
def given(published) -> dict[str, Any]:
    """What a card is made from; a test may change its own."""
    return copy.deepcopy(
        {
            "name": "tiny-assistant",
            "version": "1.0.0",
            "model": published.model.manifest.metadata,
            "evaluation": published.report.manifest.metadata,
            "split": published.split.manifest.metadata,
            "raw": published.raw.manifest.metadata,
        }
    )


def headings(card: str) -> list[str]:
    tokens = MarkdownIt("commonmark").enable("table").parse(ModelCard(card).text)
    return [
        tokens[index + 1].content
        for index, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2"
    ]


def section(card: str, heading: str) -> str:
    return card.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_a_card_has_its_sections_in_order(given):
    assert headings(model_card(**given)) == HEADINGS


def test_the_same_inputs_give_the_same_bytes(given):
    assert model_card(**given) == model_card(**copy.deepcopy(given))


def test_the_results_are_read_back_by_the_hubs_own_parser(given):
    data = ModelCard(model_card(**given)).data
    found = {(r.dataset_name, r.metric_name): r for r in data.eval_results}
    tuned = SUMMARY.models["tuned"]
    assert found["held_out", "loss"].metric_value == tuned.held_out.loss
    assert found["held_out", "loss"].metric_args == {
        "stderr": 0.1,
        "base": 3.9,
        "base_stderr": 0.2,
    }
    for metric in ("perplexity", "token_accuracy", "exact_match", "rouge_l", "chrf"):
        assert found["held_out", metric].metric_value == getattr(tuned.held_out, metric)
    assert found["arc_easy", "acc"].metric_args["base"] == 0.51
    strict = found["gsm8k", "exact_match (strict-match)"]
    assert (strict.metric_type, strict.metric_args) == ("exact_match", {"stderr": 0.0})
    assert len(found) == 8
    assert data.pipeline_tag == "text-generation"
    assert data.tags == ["ft-assets", "sft"]


def test_a_result_that_is_not_finite_is_left_out_and_said(given):
    summary = given["evaluation"]["summary"]
    summary["models"]["tuned"]["held_out"]["loss"] = None
    summary["not_finite"] = ["tuned.held_out.loss"]
    card = model_card(**given)
    assert "loss" not in {r.metric_name for r in ModelCard(card).data.eval_results}
    assert "Not a number, and left out of the results: tuned.held\\_out.loss." in card


def test_the_champion_has_a_column_where_there_was_one(given):
    assert "champion before" not in model_card(**given)
    models = given["evaluation"]["summary"]["models"]
    models["champion"] = models["base"]
    card = model_card(**given)
    assert "champion before" in section(card, "Evaluation")
    assert "no earlier version" not in section(card, "Limits")


def test_a_base_model_of_the_hub_stands_in_the_header_with_its_revision_in_the_text(given):
    assert ModelCard(model_card(**given)).data.base_model is None  # a folder has no id
    given["model"]["plan"]["base_model"] |= {
        "kind": "hub",
        "location": "org/base",
        "revision": "c" * 40,
    }
    card = model_card(**given)
    assert ModelCard(card).data.base_model == "org/base"
    assert f"of org/base at revision `{'c' * 40}`" in card


def test_a_dataset_of_the_hub_stands_in_the_header(given):
    assert ModelCard(model_card(**given)).data.datasets is None
    given["raw"]["source"]["uri"] = "hf://org/chats:default@main"
    assert ModelCard(model_card(**given)).data.datasets == ["org/chats"]


def test_no_path_of_this_machine_is_shown(given, published):
    card = model_card(**given)
    assert str(published.pipeline.root) not in card
    assert "drop-1.jsonl" in section(card, "Data")


def test_the_verdict_stands_with_its_reasons_and_comparisons(given):
    shown = section(model_card(**given), "Verdict")
    assert f"**Passed**: {VERDICT['reason']}" in shown
    assert "- held\\_out, loss: 2.5 against 3.9 of the base model." in shown
    assert "-1.6000 to -1.2000" in shown


def test_a_person_who_overruled_the_court_is_named(given):
    given["verdict"] = {**VERDICT, "overruled": {"name": "Ann", "reason": "Pilot *only*"}}
    shown = section(model_card(**given), "Verdict")
    assert "**A person has overruled the court**: name: Ann, reason: Pilot \\*only\\*." in shown


def test_a_verdict_of_an_earlier_release_is_enough(given):
    given["verdict"] = {"passed": False, "reason": "worse"}
    assert "**Not passed**: worse" in section(model_card(**given), "Verdict")


def test_a_model_that_nobody_has_measured_says_so(given):
    card = model_card(**{**given, "evaluation": None, "split": None, "raw": None})
    assert "Nothing was measured" in section(card, "Evaluation")
    assert "No verdict" in section(card, "Verdict")
    assert "What it was trained on is not recorded here." in section(card, "Limits")
    assert ModelCard(card).data.eval_results is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partial": True}, "The results are partial"),
        ({}, "2 held-out rows were too long and were scored in part"),
        ({}, "1 held-out rows could not be scored: no assistant turn \\(1\\)"),
        ({}, "Answers were generated for 4 of the 8 held-out rows"),
        ({}, "Compared with its base model alone"),
        ({}, "1 training rows were longer than the sequence length"),
        ({}, "The licence is not known"),
        ({}, "The languages of the training data were not determined"),
        ({}, "Training rows were not compared with the questions of the evaluations"),
    ],
)
def test_what_limits_the_results_is_said(given, change, said):
    given["evaluation"]["summary"] |= change
    assert re.search(said, section(model_card(**given), "Limits"))


def test_every_effective_parameter_is_in_the_recipe(given):
    shown = section(model_card(**given), "Recipe")
    for name in given["model"]["provenance"]["config"]:
        assert f"| `{name}` |" in shown, name
    for name in given["model"]["plan"]["parameters"]:
        assert f"| `{name}` |" in shown, name


def test_of_variables_of_the_environment_the_names_alone_are_shown(given):
    given["model"]["provenance"]["config"]["env"] = {"NCCL_DEBUG": "value-of-it"}
    shown = section(model_card(**given), "Recipe")
    assert "NCCL_DEBUG (set)" in shown
    assert "value-of-it" not in shown


def test_hardware_that_is_known_is_shown(given):
    card = model_card(**given, hardware={"energy (kWh)": 1.5, "container image": "r/i:1"})
    shown = section(card, "Hardware, software, energy and cost")
    assert "| energy (kWh) | 1.5 |" in shown
    assert "| container image | r/i:1 |" in shown


def test_hostile_text_breaks_neither_the_header_nor_the_page(given):
    hostile = 'x\n---\nlicense: mit\n\n# Owned\n<script>a()</script> [l](http://e.example) "q": |'
    given["model"]["provenance"] |= {"partition": hostile, "run_id": hostile, "platform": hostile}
    given["model"]["plan"]["base_model"]["name"] = hostile
    given["model"]["outcome"]["settings"][hostile] = hostile
    given["raw"]["source"] = {"uri": hostile, "files": [{"name": hostile, "size": 1}]}
    given["split"]["report"]["dropped"] = {hostile: 1}
    given["split"]["report"]["warnings"] = [hostile]
    tasks = given["evaluation"]["summary"]["models"]["tuned"]["tasks"]
    tasks[hostile] = {hostile: 0.5}
    given["verdict"] = {**VERDICT, "reason": hostile, "reasons": [hostile]}
    card = model_card(**{**given, "name": hostile, "version": hostile}, description=hostile)

    data = ModelCard(card).data
    assert data.license is None
    assert yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))["tags"] == [
        "ft-assets",
        "sft",
    ]
    assert headings(card) == HEADINGS
    tokens = MarkdownIt("commonmark").enable("table").parse(ModelCard(card).text)
    inline = [child.type for token in tokens for child in token.children or []]
    assert not {"html_inline", "link_open", "image"} & set(inline)
    assert "html_block" not in {token.type for token in tokens}
    assert [t.tag for t in tokens if t.type == "heading_open"].count("h1") == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"license_id": "My own"}, "license 'My own' is no licence"),
        ({"license_id": "mit\nfoo: bar"}, "is no licence"),
        ({"languages": ["English"]}, "language 'English' is no ISO 639 code"),
    ],
)
def test_what_no_hub_takes_is_refused(given, asked, said):
    with pytest.raises(UserError, match=said):
        model_card(**given, **asked)


def test_a_language_that_yaml_takes_for_no_stays_a_language(given):
    assert ModelCard(model_card(**given, languages=["no"])).data.language == ["no"]


def test_the_card_of_a_stored_model_follows_its_provenance(published):
    card = model_card_of(
        published.store, published.model, published.report, name="tiny-assistant", version="1.0.0"
    )
    shown = section(card, "Provenance")
    for artifact in (published.split, published.model, published.report):
        assert artifact.digest in shown
    assert published.model.data_version in shown
    source: Any = published.raw.manifest.metadata["source"]
    assert source["files"][0]["sha256"] in section(card, "Data")


def test_a_model_without_a_version_is_verified_as_an_artifact(given):
    shown = section(model_card(**{**given, "version": None}), "Provenance")
    assert "`ft verify tiny/finetuned_model@drop-1`" in shown
