"""What is valid and hardly meant is said; what is well set up is not talked about."""

from __future__ import annotations

from typing import Any

import pytest

from ft_assets.config import PipelineSpec
from ft_assets.config.advice import advice

BLOCKS: dict[str, dict[str, Any]] = {
    "dataset": {"uri": "/data/{partition}.jsonl"},
    "training": {"base_model": "org/model"},
    "evaluation": {"tasks": []},
    "registry": {"name": "assistant"},
    "automation": {"enabled": True},
}


def spec(**changed: dict[str, Any]) -> PipelineSpec:
    blocks = {name: {**values, **changed.get(name, {})} for name, values in BLOCKS.items()}
    return PipelineSpec.model_validate({"name": "chats", **blocks})


def test_drops_that_are_measured_with_their_own_rows_alone_should_not_be_trained_on_unseen():
    (sentence,) = advice(spec())
    assert "dataset.eval_uri" in sentence
    assert "evaluation.tasks" in sentence


@pytest.mark.parametrize(
    "changed",
    [
        {"automation": {"enabled": False}},
        {"dataset": {"eval_uri": "/measured-with/rows.jsonl"}},
        {"evaluation": {"tasks": ["arc_easy"]}},
        {"dataset": {"uri": "/data/all.jsonl"}},
    ],
    ids=["a person starts it", "own held-out rows", "tasks", "no drops"],
)
def test_what_is_set_up_well_is_not_talked_about(changed):
    assert advice(spec(**changed)) == []
