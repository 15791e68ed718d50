"""Nodes and processes of a plan: who may ask for how many, and what each backend receives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training import plan as plan_module
from ft_assets.training.arguments import packages
from ft_assets.training.place import Place, at
from ft_assets.training.plan import TrainPlan, make_plan
from ft_assets.training.refusals import refuse_what_never_runs
from resources.errors import UserError
from tests.training.conftest import reference

Planned = Callable[..., TrainPlan]

ALGORITHM = {"instructlab-training": "sft", "mini-trainer": "osft", "peft": "lora_sft"}
SECOND_OF_TWO = Place(2, 4, 1, "job", master_addr="job-node-0-0.job", master_port=29400)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Planned:
    """A plan on a machine that shows GPUs and belongs to a cluster."""
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(packages, "find_spec", lambda name: name)

    def make(
        backend: str, kubernetes: dict[str, Any], *, cluster: bool = True, **values: Any
    ) -> TrainPlan:
        algorithm = ALGORITHM.get(backend, "sft")
        return make_plan(
            TrainingConfig.model_validate({"algorithm": algorithm, "backend": backend, **values}),
            KubernetesConfig.model_validate(kubernetes),
            base_model=reference(tiny_model),
            models_dir=Path("/models"),
            train_file=Path("/rows.jsonl"),
            data_digest="d",
            train_rows=1000,
            cluster=cluster,
        )

    return make


@pytest.mark.parametrize(
    ("backend", "kubernetes", "world"),
    [
        ("instructlab-training", {"gpus_per_worker": 4}, (4, 1)),
        ("instructlab-training", {"gpus_per_worker": 4, "workers": 2}, (4, 2)),
        ("mini-trainer", {"gpus_per_worker": 4, "procs_per_worker": "2", "workers": 3}, (2, 3)),
        ("cpu", {"gpus_per_worker": 0, "workers": 2}, (1, 2)),
        ("cpu", {"gpus_per_worker": 0, "procs_per_worker": "4"}, (4, 1)),
        ("cpu", {"gpus_per_worker": 0, "procs_per_worker": "2", "workers": 2}, (2, 2)),
        ("cpu", {"gpus_per_worker": 4, "procs_per_worker": "4", "workers": 2}, (1, 2)),
        ("cpu", {"gpus_per_worker": 0}, (None, None)),
        ("cpu", {"gpus_per_worker": 4, "procs_per_worker": "4"}, (None, None)),
        ("cpu", {"gpus_per_worker": 0, "procs_per_worker": "1"}, (None, None)),
    ],
)
def test_the_plan_names_processes_per_node_and_nodes(
    planned: Planned,
    backend: str,
    kubernetes: dict[str, Any],
    world: tuple[int | None, int | None],
) -> None:
    parameters = planned(backend, kubernetes, effective_batch_size=24).parameters
    assert (parameters.get("nproc_per_node"), parameters.get("nnodes")) == world


@pytest.mark.parametrize("backend", ["instructlab-training", "auto"])
def test_the_step_that_starts_nodes_with_gpus_needs_none_itself(
    planned: Planned, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: False)
    assert planned(backend, {"workers": 4}).backend == "instructlab-training"


def test_nodes_without_gpus_train_on_processors(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)
    without = {"workers": 4, "gpus_per_worker": 0}
    assert planned("auto", without).backend == "cpu"
    with pytest.raises(UserError, match=r"needs an NVIDIA GPU and kubernetes.gpus_per_worker is 0"):
        planned("mini-trainer", without)


def test_packages_of_nodes_count_where_their_image_is_that_of_the_step(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    two = {"workers": 2}
    assert planned("instructlab-training", two, use_liger=True)
    with pytest.raises(UserError, match="liger-kernel"):
        planned("instructlab-training", {**two, "image": "registry/ft:1"}, use_liger=True)


def test_another_number_of_nodes_is_another_run(planned: Planned) -> None:
    kubernetes = {"gpus_per_worker": 0}
    made = [planned("cpu", {**kubernetes, "workers": workers}) for workers in (1, 2, 4)]
    assert len({plan.fingerprint for plan in made}) == 3


@pytest.mark.parametrize("backend", ["cpu", "instructlab-training"])
def test_several_nodes_need_a_cluster(planned: Planned, backend: str) -> None:
    with pytest.raises(UserError, match=r"kubernetes\.workers: 4: .*FT_EXECUTOR=k8s.*: set 1"):
        planned(backend, {"workers": 4}, cluster=False)
    assert planned(backend, {"workers": 4})


def test_what_the_nodes_of_a_train_job_cannot_have_is_refused_before_the_first_step() -> None:
    high = {"priority_class": "high"}
    refuse_what_never_runs(KubernetesConfig.model_validate(high), cluster=True)
    with pytest.raises(UserError, match=r"cannot be given priority_class: .*workers to 1"):
        refuse_what_never_runs(
            KubernetesConfig.model_validate({**high, "workers": 2}), cluster=True
        )


@pytest.mark.parametrize(
    ("kubernetes", "said"),
    [
        ({"workers": 2}, r"kubernetes\.workers: 2: the peft backend trains on one GPU: set 1"),
        ({"gpus_per_worker": 2}, r"gpus_per_worker: 2: the peft backend trains on one GPU: set 1"),
    ],
)
def test_lora_on_a_gpu_has_one_worker(
    planned: Planned, kubernetes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        planned("peft", kubernetes)


def test_lora_with_unsloth_is_refused_whatever_the_number_of_workers(planned: Planned) -> None:
    with pytest.raises(UserError, match=r"unsloth: .*: set peft"):
        planned("unsloth", {"workers": 2}, algorithm="lora_sft")


@pytest.mark.parametrize("values", [{"master_addr": "host"}, {"node_rank": 1}, {"rdzv_id": "x"}])
def test_where_nodes_meet_says_nothing_to_one_process(
    planned: Planned, values: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="one process trains: leave it out"):
        planned("cpu", {"gpus_per_worker": 0}, **values)
    several = planned("cpu", {"gpus_per_worker": 0, "workers": 2}, **values)
    assert values.items() <= several.parameters.items()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"effective_batch_size": 10}, r"\(10\) is not divided by the 4 .*: set 8 or 12"),
        ({"effective_batch_size": 3}, r"\(3\) is not divided by the 4 .*: set 4"),
        (
            {"micro_batch_size": 2, "gradient_accumulation_steps": 2, "effective_batch_size": 8},
            r"\(2\) x gradient_accumulation_steps \(2\) x 4 training processes is 16 and",
        ),
        (
            {"micro_batch_size": 3, "effective_batch_size": 16},
            r"micro_batch_size \(3\) does not divide .*\(16\), of which each process has 4 rows",
        ),
    ],
)
def test_a_batch_that_the_processes_cannot_share_is_refused(
    planned: Planned, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        planned("cpu", {"gpus_per_worker": 0, "procs_per_worker": "2", "workers": 2}, **values)


def test_accumulation_counts_the_processes(planned: Planned) -> None:
    kubernetes = {"gpus_per_worker": 0, "procs_per_worker": "4"}
    values = {"effective_batch_size": 32, "gradient_accumulation_steps": 4}
    assert planned("cpu", kubernetes, **values).parameters["micro_batch_size"] == 2


# What reaches the GPU backends' own launcher.


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[TrainPlan], Any]:
    """The arguments of torchrun that a backend receives through training_hub."""

    def send(plan: TrainPlan) -> dict[str, Any]:
        import mini_trainer
        import training_hub
        from training_hub.algorithms import sft as sft_module

        from ft_assets.training import instructlab
        from ft_assets.training import mini_trainer as ours

        received: dict[str, Any] = {}
        (tmp_path / "rows.jsonl").write_text("{}\n")
        plan = plan.model_copy(update={"train_file": str(tmp_path / "rows.jsonl")})
        sft = plan.backend == "instructlab-training"
        monkeypatch.setattr(instructlab, "find_spec", lambda name: name)
        border = sft_module if sft else mini_trainer
        monkeypatch.setattr(border, "run_training", lambda **given: received.update(given))
        arguments = (instructlab if sft else ours).training_arguments(plan, Path("/base"), tmp_path)
        (training_hub.sft if sft else training_hub.osft)(**arguments)
        return dict(vars(received["torch_args"]))

    return send


@pytest.mark.parametrize("backend", ["instructlab-training", "mini-trainer"])
@pytest.mark.parametrize(
    ("workers", "values", "place", "expected"),
    [
        (
            1,
            {},
            Place(1, 4, 0),
            {"nnodes": 1, "node_rank": 0, "rdzv_endpoint": None, "master_addr": None},
        ),
        (
            2,
            {},
            SECOND_OF_TWO,
            {
                "nnodes": 2,
                "node_rank": 1,
                "rdzv_id": "job",
                "rdzv_endpoint": None,
                "master_addr": "job-node-0-0.job",
                "master_port": 29400,
            },
        ),
        (
            2,
            {"rdzv_endpoint": "elsewhere:7", "rdzv_id": "mine"},
            Place(2, 4, 0, "mine", rdzv_endpoint="elsewhere:7"),
            {
                "nnodes": 2,
                "node_rank": 0,
                "rdzv_id": "mine",
                "rdzv_endpoint": "elsewhere:7",
                "master_addr": None,
                "master_port": None,
            },
        ),
    ],
)
def test_each_gpu_backend_receives_its_place(
    planned: Planned,
    torchrun: Callable[[TrainPlan], dict[str, Any]],
    backend: str,
    *,
    workers: int,
    values: dict[str, Any],
    place: Place,
    expected: dict[str, Any],
) -> None:
    plan = planned(backend, {"gpus_per_worker": 4, "workers": workers}, **values)
    received = torchrun(at(plan, place))
    assert received["nproc_per_node"] == 4
    assert {name: received[name] for name in expected} == expected
