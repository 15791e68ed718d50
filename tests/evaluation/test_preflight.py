"""What is said about data that is not there, before a model is loaded."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.evaluation import preflight
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.preflight import Missing, TaskData, hub_problem, refusal
from ft_assets.evaluation.tasks import build_tasks
from resources.errors import UserError
from tests.support.loopback_hub import LoopbackHub, Repo, loopback_hub

MakePlan = Callable[..., EvaluationPlan]

ROWS = b'{"text": "Say 1", "answer": "1"}\n{"text": "Say 2", "answer": "2"}\n'


def on_hub(folder: Path, name: str, dataset: str, config: str | None = None) -> None:
    (folder / f"{name}.yaml").write_text(
        f"task: {name}\ndataset_path: {dataset}\n"
        + (f"dataset_name: {config}\n" if config else "")
        + "output_type: generate_until\ntest_split: test\ndoc_to_text: text\n"
        "doc_to_target: answer\ngeneration_kwargs: {until: [x]}\n"
    )


@pytest.fixture
def hub_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)


def refused(plan: EvaluationPlan) -> str:
    with pytest.raises(UserError) as refusal:
        build_tasks(plan)
    return str(refusal.value)


def test_everything_that_is_missing_is_in_one_message(
    make_plan: MakePlan, task_folder: Path, hub_offline: None
) -> None:
    on_hub(task_folder, "physics", "nobody/physics", "hard")
    on_hub(task_folder, "chemistry", "nobody/chemistry")
    on_hub(task_folder, "history", "nobody/history")
    (task_folder / "all.yaml").write_text("group: science\ntask: [physics, planets, chemistry]\n")
    plan = make_plan(tasks=["science", "echo", "history"], include_path=str(task_folder))
    first, second, third, remedy = refused(plan).splitlines()
    assert first.startswith("task 'chemistry': its dataset nobody/chemistry cannot be loaded (")
    assert second.startswith("task 'physics': its dataset nobody/physics (config hard) cannot be")
    assert third.startswith("task 'history': its dataset nobody/history cannot be loaded (")
    assert remedy.startswith("HF_HUB_OFFLINE is set: a dataset on the hub needs the network")
    assert "HF_HOME" in remedy
    assert "include_path" in remedy


def test_a_dataset_of_which_only_another_configuration_is_there_is_missing_too(
    make_plan: MakePlan, task_folder: Path, hub_offline: None, tmp_path: Path, monkeypatch: Any
) -> None:
    import datasets

    copy = tmp_path / "cache" / "nobody___exams" / "algebra" / "0.0.0" / "abc"
    copy.mkdir(parents=True)
    (copy / "dataset_info.json").write_text('{"config_name": "algebra", "splits": {}}')
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    on_hub(task_folder, "anatomy", "nobody/exams", "anatomy")
    on_hub(task_folder, "history", "nobody/history")
    (task_folder / "all.yaml").write_text("group: exams\ntask: [planets, anatomy]\n")
    plan = make_plan(tasks=["exams", "history"], include_path=str(task_folder))
    first, second, _ = refused(plan).splitlines()
    assert first.startswith("task 'anatomy': its dataset nobody/exams (config anatomy) cannot be")
    assert "Couldn't find cache for nobody/exams" in first
    assert second.startswith("task 'history': its dataset nobody/history cannot be loaded (")


def test_local_data_that_is_missing_does_not_blame_the_hub(
    make_plan: MakePlan, task_folder: Path, hub_offline: None
) -> None:
    (task_folder / "planets.jsonl").unlink()
    message = refused(make_plan(tasks=["planets"], include_path=str(task_folder)))
    assert "HF_HUB_OFFLINE" not in message


def test_local_tasks_do_not_ask_for_the_hub(
    make_plan: MakePlan, task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(preflight, "_connect", never)
    assert build_tasks(make_plan(tasks=["planets"], include_path=str(task_folder)))


def test_a_hub_that_is_not_there_is_tried_once(
    make_plan: MakePlan, task_folder: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{closed_port}")
    real, tried = preflight._connect, []

    def counting(host: str, port: int, seconds: float) -> str | None:
        tried.append((host, port))
        return real(host, port, seconds)

    monkeypatch.setattr(preflight, "_connect", counting)
    for name in ("physics", "history"):
        on_hub(task_folder, name, f"nobody/{name}")
    message = refused(make_plan(tasks=["physics", "history"], include_path=str(task_folder)))
    assert tried == [("127.0.0.1", closed_port)]
    assert f"the hub at http://127.0.0.1:{closed_port} cannot be reached (" in message
    assert "Connection refused" in message
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    with loopback_hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        assert hub_problem() is None


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, ("hub.example", 443)),
        ({"https_proxy": "http://proxy.example:3128"}, ("proxy.example", 3128)),
        ({"https_proxy": "proxy.example:3128"}, ("proxy.example", 3128)),
        ({"http_proxy": "http://proxy.example:3128"}, ("hub.example", 443)),
        ({"https_proxy": "http://p.example:1", "no_proxy": "hub.example"}, ("hub.example", 443)),
    ],
)
def test_behind_a_proxy_the_proxy_is_tried(
    environment: dict[str, str], asked: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert preflight._where_to_connect("https://hub.example") == asked


def test_one_missing_dataset_is_one_line() -> None:
    message = refusal([Missing(TaskData("t", "a/b", "c"), "ConnectionError: x")], "no network")
    assert message.startswith(
        "task 't': its dataset a/b (config c) cannot be loaded (ConnectionError: x): no network: "
    )
    assert "\n" not in message


_CHILD = """
import sys
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.tasks import build_tasks
from resources.errors import UserError
plan = EvaluationPlan.model_validate_json(sys.argv[1])
try:
    print([(task.name, task.documents) for task in build_tasks(plan)])
except UserError as error:
    print(error)
"""


def child(plan: EvaluationPlan, hub: LoopbackHub, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, plan.model_dump_json()],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HOME": str(home),
            "HF_ENDPOINT": hub.endpoint,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
        },
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_what_the_hub_has_is_loaded_and_kept_for_a_time_without_it(
    make_plan: MakePlan, task_folder: Path, tmp_path: Path
) -> None:
    on_hub(task_folder, "there", "someone/there")
    on_hub(task_folder, "absent", "nobody/absent")
    tasks = {"include_path": str(task_folder)}
    both = make_plan(tasks=["there", "absent"], **tasks)
    one = make_plan(tasks=["there"], **tasks)
    with loopback_hub() as hub:
        hub.datasets["someone/there"] = Repo({"main": {"test.jsonl": ROWS}})
        message = child(both, hub, tmp_path / "home")
        assert message.startswith("task 'absent': its dataset nobody/absent cannot be loaded (")
        assert "there'" not in message
    assert child(one, hub, tmp_path / "home") == "[('there', 2)]"
    gone = child(both, hub, tmp_path / "home")
    assert gone.startswith("task 'absent': its dataset nobody/absent cannot be loaded (")
    assert f"the hub at {hub.endpoint} cannot be reached (" in gone
