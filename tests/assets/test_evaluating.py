"""What an evaluation asked is what its manifest says, or there is no evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ft_assets.assets.evaluating import evaluate, own_tasks
from ft_assets.assets.step import Step
from ft_assets.config import PipelineSpec
from ft_assets.evaluation.plan import ModelUnderTest
from ft_assets.provenance.own_tasks import tasks_digest
from resources.errors import UserError
from resources.home import Home
from resources.store import ArtifactStore
from tests.assets.test_registration_properties import publish


class ThisStep:
    """A step whose worker does nothing, but that somebody may edit the tasks meanwhile."""

    own_tasks: Any = Step.__dict__["own_tasks"]
    force = True

    def __init__(self, folder: Path, *, edits: bool) -> None:
        self.include_folder = folder
        self.edits = edits
        values = {"dataset": {"uri": "rows.jsonl"}, "evaluation": {"include_path": "tasks"}}
        self.spec = PipelineSpec.model_validate({"name": "mine", **values})

    def run_worker(self, *_: Any) -> None:
        if self.edits:
            (self.include_folder / "planets.yaml").write_text("task: other\n")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "planets.yaml").write_text("task: planets\n")
    return folder


def run(step: Any, tmp_path: Path) -> None:
    store = ArtifactStore(root=str(tmp_path / "artifacts"))
    split = publish(store, "split_dataset", [], report={"held_out_rows": 0})
    launcher: Any = None
    home = Home(path=str(tmp_path / "home"))
    models = [ModelUnderTest(name="base", path=str(tmp_path), digest="")]
    evaluate(step, split, models, tmp_path, home=home, launcher=launcher)


def test_the_manifest_names_the_tasks_as_they_were_when_the_step_began(tmp_path, tasks):
    step: Any = ThisStep(tasks, edits=False)
    began = tasks_digest(tasks)
    assert own_tasks(step) == {"own_tasks": {"folder": "tasks", "digest": began}}
    run(step, tmp_path)
    (tasks / "planets.yaml").write_text("task: other\n")
    assert own_tasks(step) == {"own_tasks": {"folder": "tasks", "digest": began}}


def test_tasks_that_change_while_they_are_asked_end_the_evaluation(tmp_path, tasks):
    step: Any = ThisStep(tasks, edits=True)
    assert own_tasks(step)
    with pytest.raises(UserError, match=r"include_path: .*tasks was changed while its tasks were"):
        run(step, tmp_path)
