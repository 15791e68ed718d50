"""From task names to lm-eval tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.tasks import build_tasks, unknown_tasks
from resources.errors import UserError

MakePlan = Callable[..., EvaluationPlan]


@pytest.fixture
def no_default_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """lm-eval's own thousands of task files take seconds to read: here they are an empty folder."""
    from lm_eval.tasks import manager

    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(manager, "__file__", str(tmp_path / "empty" / "manager.py"))


def test_local_tasks_are_built_with_their_data(make_plan: MakePlan, task_folder: Path) -> None:
    plan = make_plan(tasks=["planets", "echo"], include_path=str(task_folder))
    planets, echo = build_tasks(plan)
    assert (planets.name, planets.documents, list(planets.leaves)) == ("planets", 5, ["planets"])
    assert echo.documents == 3


def test_a_limit_counts_for_each_task(make_plan: MakePlan, task_folder: Path) -> None:
    plan = make_plan(tasks=["planets", "echo"], include_path=str(task_folder), limit=4)
    assert [task.documents for task in build_tasks(plan)] == [4, 3]


def test_local_tasks_do_not_read_the_index_of_lm_eval(
    make_plan: MakePlan, task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval.tasks

    real, defaults = lm_eval.tasks.TaskManager, []

    def recording(**arguments: object) -> object:
        defaults.append(arguments["include_defaults"])
        return real(**arguments)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", recording)
    build_tasks(make_plan(tasks=["planets"], include_path=str(task_folder)))
    assert defaults == [False]


def test_a_group_counts_the_documents_of_its_members(
    make_plan: MakePlan, task_folder: Path
) -> None:
    (task_folder / "all.yaml").write_text("group: all\ntask: [planets, echo]\n")
    (task,) = build_tasks(make_plan(tasks=["all"], include_path=str(task_folder)))
    assert (task.documents, sorted(task.leaves)) == (8, ["echo", "planets"])


def test_a_task_that_is_in_a_named_group_too_is_refused(
    make_plan: MakePlan, task_folder: Path
) -> None:
    (task_folder / "all.yaml").write_text("group: all\ntask: [planets, echo]\n")
    with pytest.raises(UserError, match="'planets' is in both 'all' and 'planets'"):
        build_tasks(make_plan(tasks=["all", "planets"], include_path=str(task_folder)))


def test_an_unknown_task_is_named_with_close_ones(
    make_plan: MakePlan, task_folder: Path, no_default_index: None
) -> None:
    with pytest.raises(UserError) as refusal:
        build_tasks(make_plan(tasks=["echo", "planet"], include_path=str(task_folder)))
    assert "unknown task 'planet' (close: 'planets')" in str(refusal.value)
    assert str(task_folder) in str(refusal.value)


def test_without_a_folder_the_message_says_that_there_is_none() -> None:
    message = unknown_tasks(["arc_esay"], ["arc_easy", "piqa"], None)
    assert message.startswith("unknown task 'arc_esay' (close: 'arc_easy'): name a task of lm-eval")
    assert "include_path, which is unset" in message


def test_a_broken_task_file_is_not_left_out_silently(
    make_plan: MakePlan, task_folder: Path, no_default_index: None
) -> None:
    (task_folder / "broken.yaml").write_text("task: [broken\n")
    with pytest.raises(UserError, match=r"broken\.yaml cannot be read"):
        build_tasks(make_plan(tasks=["broken"], include_path=str(task_folder)))


def test_a_missing_folder_is_refused(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        build_tasks(make_plan(tasks=["a"], include_path=str(tmp_path / "none")))


def test_a_dataset_that_the_hub_does_not_give_names_task_and_dataset(
    make_plan: MakePlan, task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    text = (task_folder / "planets.yaml").read_text().replace("dataset_path: json", "X")
    remote = text[: text.index("X")] + "dataset_path: nobody/nothing\n"
    remote += text[text.index("output_type") :]
    (task_folder / "planets.yaml").write_text(remote)
    with pytest.raises(UserError) as refusal:
        build_tasks(make_plan(tasks=["planets"], include_path=str(task_folder)))
    assert "task 'planets': its dataset nobody/nothing cannot be loaded" in str(refusal.value)
    assert "HF_HOME" in str(refusal.value)


def test_local_data_that_is_not_there_names_task(make_plan: MakePlan, task_folder: Path) -> None:
    (task_folder / "planets.jsonl").unlink()
    with pytest.raises(UserError, match="task 'planets': its dataset json cannot be loaded"):
        build_tasks(make_plan(tasks=["planets"], include_path=str(task_folder)))


def test_a_wrong_definition_names_the_task(make_plan: MakePlan, task_folder: Path) -> None:
    path = task_folder / "planets.yaml"
    path.write_text(path.read_text().replace("multiple_choice", "multiple_joyce"))
    with pytest.raises(UserError, match=r"task 'planets' .* cannot be built: .*multiple_joyce"):
        build_tasks(make_plan(tasks=["planets"], include_path=str(task_folder)))


def test_a_task_that_runs_generated_code_is_refused(make_plan: MakePlan, task_folder: Path) -> None:
    path = task_folder / "echo.yaml"
    path.write_text(path.read_text() + "unsafe_code: true\n")
    with pytest.raises(UserError, match="'echo' runs code that the model writes"):
        build_tasks(make_plan(tasks=["echo"], include_path=str(task_folder)))


def test_gen_kwargs_override_those_of_the_task(make_plan: MakePlan, task_folder: Path) -> None:
    plan = make_plan(
        tasks=["echo"], include_path=str(task_folder), gen_kwargs={"max_new_tokens": 3}
    )
    (task,) = build_tasks(plan)
    assert task.leaves["echo"].config.generation_kwargs == {
        "until": ["<never>"],
        "max_gen_toks": 3,
        "do_sample": False,
    }


def test_gen_kwargs_that_no_task_reads_are_refused(make_plan: MakePlan, task_folder: Path) -> None:
    plan = make_plan(
        tasks=["planets"], include_path=str(task_folder), gen_kwargs={"max_gen_toks": 3}
    )
    with pytest.raises(UserError, match="none of planets generates text"):
        build_tasks(plan)


@pytest.mark.slow
def test_names_that_no_folder_defines_are_sought_in_lm_eval(
    make_plan: MakePlan, task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    plan = make_plan(tasks=["planets", "ai2_arc"], include_path=str(task_folder))
    with pytest.raises(UserError, match=r"'arc_easy': its dataset allenai/ai2_arc \(config ARC-E"):
        build_tasks(plan)
    with pytest.raises(UserError, match="unknown task 'arc_esay' \\(close: 'arc_easy'"):
        build_tasks(make_plan(tasks=["arc_esay"]))
