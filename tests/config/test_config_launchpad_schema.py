"""The cheap schema of the launchpad is the one that Dagster derives from the ``Config`` class."""

from __future__ import annotations

from typing import Any

import pytest

from ft_assets.config import PipelineSpec, find_pipelines
from ft_assets.config.launchpad import BLOCK_OF_ASSET, run_config_class
from ft_assets.config.launchpad_schema import run_config_schema

CHANGED = PipelineSpec.model_validate(
    {
        "name": "changed",
        "dataset": {"uri": "/data/x.jsonl", "split": 0.5},
        "training": {"base_model": "m", "seed": 7},
        "evaluation": {"tasks": ["mmlu"], "gen_kwargs": {"temperature": 0.5}},
        "registry": {"name": "m", "description": "d"},
        "kubernetes": {"steps": {"eval_report": {"gpus": 1}}},
    }
)
SPECS = [*(found.spec for found in find_pipelines()), CHANGED]


@pytest.mark.parametrize("asset", BLOCK_OF_ASSET)
def test_types_defaults_and_descriptions_are_those_of_the_class(asset):
    for spec in SPECS:
        derived: Any = run_config_class(spec, asset).to_config_schema()
        ours: Any = run_config_schema(spec, asset)
        # The key of a shape is made of all that stands in it.
        assert ours.config_type.key == derived.as_field().config_type.key, spec.name
        assert ours.default_value == derived.as_field().default_value, spec.name


def test_pipelines_do_not_share_their_defaults():
    defaults = [run_config_schema(spec, "finetuned_model").default_value for spec in SPECS]
    assert len({str(default) for default in defaults}) == len(SPECS)
