"""What an interrupted training left is named, with the reason, when another one begins anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training.left_behind import PLAN_FILE, begun, left_behind, run_folder
from ft_assets.training.plan import TrainPlan, make_plan
from tests.training.conftest import reference

PREFIX = "mine-finetuned_model-all"
ON_TWO = {"gpus_per_worker": 0, "procs_per_worker": "2"}

Planned = Callable[..., TrainPlan]


@pytest.fixture
def planned(tiny_model: Path) -> Planned:
    def make(
        kubernetes: dict[str, Any] | None = None, *, rows: str = "d", **values: Any
    ) -> TrainPlan:
        return make_plan(
            TrainingConfig.model_validate({"backend": "cpu", **values}),
            KubernetesConfig.model_validate({"gpus_per_worker": 0, **(kubernetes or {})}),
            base_model=reference(tiny_model),
            models_dir=Path("/models"),
            train_file=Path("/rows.jsonl"),
            data_digest=rows,
            train_rows=1000,
        )

    return make


def begin(runs: Path, plan: TrainPlan, state: str | None = "checkpoint-4", prefix=PREFIX) -> Path:
    folder = run_folder(runs, prefix, plan.fingerprint)
    folder.mkdir(parents=True)
    (folder / PLAN_FILE).write_text(plan.model_dump_json())
    if state:
        (folder / state).mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    "state", ["checkpoint-4", "full_state/epoch_1", "full_state_checkpoints/step_12"]
)
def test_another_world_size_is_named_with_the_state_that_is_left(planned, tmp_path, state):
    folder = begin(tmp_path, planned(), state)
    (said,) = left_behind(tmp_path, PREFIX, planned(ON_TWO))
    assert f"({folder.name}, {Path(state).name})" in said
    assert "made by 1 process (1 x 1) and this one by 2 processes (1 x 2)" in said
    assert "kubernetes.workers, procs_per_worker and gpus_per_worker" in said
    assert "begins at the start; to go on with that one, set back what was changed" in said


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"learning_rate": 0.5}, "learning_rate was 5e-06 and is 0.5"),
        ({"env": {"A": "b"}}, "env was {} and is {'A': 'b'}"),
        ({"algorithm": "osft"}, "algorithm was 'sft' and is 'osft'"),
        ({"train_on_inputs": True}, "mask was {"),
        ({"rows": "other"}, "its rows, or the code that trains, are others"),
    ],
)
def test_what_else_was_changed_is_named_too(planned, tmp_path, values, reason):
    begin(tmp_path, planned())
    (said,) = left_behind(tmp_path, PREFIX, planned(**values))
    assert f": {reason}" in said
    assert "processes" not in said


def test_nothing_is_said_where_the_training_goes_on_from_its_own(planned, tmp_path):
    begin(tmp_path, planned())
    begin(tmp_path, planned(ON_TWO))
    assert not list(left_behind(tmp_path, PREFIX, planned(ON_TWO)))


def test_nothing_is_said_of_what_left_no_state_or_belongs_to_another_drop(planned, tmp_path):
    begin(tmp_path, planned(), state=None)
    begin(tmp_path, planned(), prefix=f"{PREFIX}-2")
    assert not list(left_behind(tmp_path, PREFIX, planned(ON_TWO)))


def test_a_plan_of_another_release_is_passed_over(planned, tmp_path):
    (begin(tmp_path, planned()) / PLAN_FILE).write_text('{"algorithm": "sft"}')
    kept = begin(tmp_path, planned(learning_rate=0.5))
    assert [folder for folder, _ in begun(tmp_path, PREFIX)] == [kept]
