"""No record and no message of the first step holds the secret of a presigned URL."""

# Without postponed annotations: Dagster reads those of the asset's function.

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ft_assets.assets.raw_dataset import _fetch
from ft_assets.assets.step import Step
from ft_assets.config import Pipeline, PipelineSpec
from resources.errors import UserError
from resources.sources import Sources

SIGNATURE = "X-Amz-Signature=5ec4e7"
URI = "https://data.example.com/rows.jsonl"
EVAL_URI = "https://data.example.com/held-out.jsonl"
DROPS = "https://data.example.com/{partition}.jsonl"


def in_a_step(work: Callable[[Step], Any], **dataset: str | None) -> Any:
    """What ``work`` gives inside a run of ``raw_dataset`` with these parameters of the dataset."""
    values = {
        "name": "own",
        "description": "d",
        "dataset": dataset,
        "training": {"base_model": "org/model"},
    }
    spec = PipelineSpec.model_validate(values)
    given: list[Any] = []

    @dg.asset
    def raw_dataset(context: dg.AssetExecutionContext) -> None:
        pipeline = Pipeline(spec=spec, file=Path("own.yaml"))
        given.append(work(Step(context, pipeline, spec, "raw_dataset", "1", "now")))

    dg.materialize([raw_dataset])
    return given[0]


def test_the_record_of_the_parameters_holds_no_signature():
    record = in_a_step(
        lambda step: step.provenance([]),
        uri=f"{URI}?{SIGNATURE}",
        eval_uri=f"{EVAL_URI}?{SIGNATURE}",
    )
    assert (record.config["uri"], record.config["eval_uri"]) == (URI, EVAL_URI)
    assert "5ec4e7" not in record.model_dump_json()


def test_parameters_that_are_no_addresses_are_recorded_as_they_are():
    record = in_a_step(lambda step: step.provenance([]), uri=URI, field_messages="talk?x=1")
    assert record.config["eval_uri"] is None
    assert record.config["field_messages"] == "talk?x=1"


@pytest.mark.parametrize("name", ["uri", "eval_uri"])
def test_a_drop_in_a_pipeline_without_drops_is_refused_by_the_parameters_name(tmp_path, name):
    """A run may change what the file says, but not make drops of nothing."""

    def fetch(step: Step) -> str:
        with pytest.raises(UserError) as error:
            _fetch(
                step,
                Sources(data_roots=[str(tmp_path)]),
                getattr(step.spec.dataset, name),
                tmp_path / "into",
            )
        return str(error.value)

    addresses = {"uri": f"{DROPS}?{SIGNATURE}", "eval_uri": f"{DROPS}?{SIGNATURE}&held-out"}
    message = in_a_step(fetch, **addresses)
    assert message.startswith(f"dataset.{name}: {DROPS}: this pipeline has no drops")
    assert "5ec4e7" not in message
