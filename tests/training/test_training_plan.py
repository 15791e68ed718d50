"""What each backend receives: every parameter of the training block arrives, or is refused.

The tables are the specification: parameter, a value that is not its default, and where the plan
has it, under the name that the backend itself reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training import plan as plan_module
from ft_assets.training.base_model import BaseModelRef, locate
from ft_assets.training.plan import TrainPlan, choose_backend, has_nvidia_gpu, make_plan
from ft_assets.training.templates import NAMED
from resources.errors import UserError

OTHER_MODEL = "OTHER MODEL"  # stands for the path of another model folder

# parameter: (value, place in the plan, value there)
BOTH_BACKENDS: dict[str, tuple[Any, str, Any]] = {
    "algorithm": ("sft", "algorithm", "sft"),
    "base_model": (OTHER_MODEL, "base_model.name", OTHER_MODEL),
    "hf_token_env": ("MY_TOKEN", "base_model.hf_token_env", "MY_TOKEN"),
    "chat_template": ("chatml", "base_model.chat_template", NAMED["chatml"]),
    "num_epochs": (3, "parameters.num_epochs", 3),
    "effective_batch_size": (16, "parameters.effective_batch_size", 16),
    "max_tokens_per_gpu": (20_000, "parameters.max_tokens_per_gpu", 20_000),
    "max_seq_len": (4096, "parameters.max_seq_len", 4096),
    "learning_rate": (2e-5, "parameters.learning_rate", 2e-5),
    "warmup_steps": (7, "parameters.warmup_steps", 7),
    "save_samples": (256, "parameters.save_samples", 256),
    "checkpoint_at_epoch": (False, "parameters.checkpoint_at_epoch", False),
    "save_full_state": (True, "parameters.accelerate_full_state_at_epoch", True),
    "env": ({"A": "b,c"}, "env.A", "b,c"),
}
CPU = {
    "roles_to_train": (["user", "assistant"], "mask.roles_to_train", ("user", "assistant")),
    "train_on_inputs": (True, "mask.train_on_inputs", True),
    "train_on_eos": ("last", "mask.train_on_eos", "last"),
    **BOTH_BACKENDS,
    "backend": ("cpu", "backend", "cpu"),
    "lr_scheduler": ("linear", "parameters.lr_scheduler", "linear"),
    "seed": (7, "parameters.seed", 7),
    "precision": ("bf16", "parameters.precision", "bf16"),
    "threads": (2, "parameters.threads", 2),
}
CPU_REFUSES = {
    "use_liger": (True, "Liger's kernels run on GPUs: set false"),
    "fsdp_sharding_strategy": ("FULL_SHARD", "one process has nothing to shard: leave it out"),
}
INSTRUCTLAB = {
    "roles_to_train": (["user", "assistant"], "mask.roles_to_train", ("user", "assistant")),
    "train_on_inputs": (True, "mask.train_on_inputs", True),
    "train_on_eos": ("last", "mask.train_on_eos", "last"),
    **BOTH_BACKENDS,
    "backend": ("instructlab-training", "backend", "instructlab-training"),
    "seed": (7, "parameters.random_seed", 7),
    "use_liger": (True, "parameters.use_liger", True),
    "fsdp_sharding_strategy": ("NO_SHARD", "parameters.fsdp_sharding_strategy", "NO_SHARD"),
}
INSTRUCTLAB_REFUSES = {
    "lr_scheduler": ("linear", "it always uses cosine: set cosine"),
    "precision": ("fp32", "it trains in bf16: set auto"),
    "threads": (2, "it is for the cpu backend: set 0"),
}

# The whole of what training_hub.sft receives for the defaults, beside the three paths.
CPU_DEFAULTS = {
    "num_epochs": 1,
    "effective_batch_size": 128,
    "learning_rate": 5e-6,
    "max_seq_len": 8192,
    "max_tokens_per_gpu": 10_000,
    "warmup_steps": 0,
    "checkpoint_at_epoch": True,
    "save_samples": 0,
    "accelerate_full_state_at_epoch": False,
    "seed": 42,
    "lr_scheduler": "cosine",
    "precision": "auto",
    "threads": 0,
}
INSTRUCTLAB_DEFAULTS = {
    "num_epochs": 1,
    "effective_batch_size": 128,
    "learning_rate": 5e-6,
    "max_seq_len": 8192,
    "max_tokens_per_gpu": 10_000,
    "warmup_steps": 0,
    "checkpoint_at_epoch": True,
    "save_samples": 0,
    "accelerate_full_state_at_epoch": False,
    "random_seed": 42,
    "use_liger": False,
    "nproc_per_node": 1,
    "nnodes": 1,
    "process_data": False,
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that shows a GPU; there need be none to plan for one."""
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: False)


@pytest.fixture
def planned(tiny_model: Path):
    """A plan from values of the training block, made as the pipeline makes it."""

    def make(
        kubernetes: dict[str, Any] | None = None, given: dict[str, Any] | None = None, **values: Any
    ) -> TrainPlan:
        config = TrainingConfig.model_validate({"base_model": str(tiny_model), **values})
        others = {
            "models_dir": Path("/models"),
            "train_file": Path("/rows.jsonl"),
            "data_digest": "d1",
            "train_rows": 1000,
            "base_model": locate(
                config.base_model,
                folder=Path("/"),
                models=Path("/models"),
                chat_template=config.chat_template,
                hf_token_env=config.hf_token_env,
            ),
        }
        return make_plan(
            config,
            KubernetesConfig.model_validate(kubernetes or {}),
            **{**others, **(given or {})},
        )

    return make


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.support.tiny_model import make_tiny_model

    return str(make_tiny_model(tmp_path_factory.mktemp("other") / "model", seed=1))


def at(plan: TrainPlan, place: str) -> Any:
    value: Any = plan.model_dump()
    for part in place.split("."):
        value = value[part]
    return value


def needed_with(parameter: str) -> dict[str, Any]:
    """What else must be set for the value in the table to be allowed."""
    if parameter == "checkpoint_at_epoch":
        return {"save_samples": 128}  # some checkpoint there must be
    return {}


def check_row(planned, other_model, backend: str, row: tuple[str, tuple[Any, str, Any]]) -> None:
    parameter, (value, place, there) = row
    value, there = (other_model if item == OTHER_MODEL else item for item in (value, there))
    plain = planned(backend=backend, **needed_with(parameter))
    changed = planned(**{"backend": backend, **needed_with(parameter), parameter: value})
    assert at(changed, place) == there
    if parameter not in ("algorithm", "backend"):
        assert plain != changed


@pytest.mark.parametrize("parameter", CPU)
def test_cpu_receives(planned, other_model, parameter):
    check_row(planned, other_model, "cpu", (parameter, CPU[parameter]))


@pytest.mark.parametrize("parameter", INSTRUCTLAB)
def test_instructlab_training_receives(planned, other_model, gpu, parameter):
    check_row(planned, other_model, "instructlab-training", (parameter, INSTRUCTLAB[parameter]))


@pytest.mark.parametrize("parameter", CPU_REFUSES)
def test_cpu_refuses(planned, parameter):
    value, said = CPU_REFUSES[parameter]
    with pytest.raises(UserError) as error:
        planned(backend="cpu", **{parameter: value})
    message = f"training.{parameter}: {value} cannot be honoured by the cpu backend: {said}"
    assert str(error.value) == message


@pytest.mark.parametrize("parameter", INSTRUCTLAB_REFUSES)
def test_instructlab_training_refuses(planned, gpu, parameter):
    value, said = INSTRUCTLAB_REFUSES[parameter]
    with pytest.raises(UserError) as error:
        planned(backend="instructlab-training", **{parameter: value})
    assert str(error.value).startswith(f"training.{parameter}: {value} cannot be honoured by the ")
    assert str(error.value).endswith(said)


@pytest.mark.parametrize(
    ("received", "refused"), [(CPU, CPU_REFUSES), (INSTRUCTLAB, INSTRUCTLAB_REFUSES)]
)
def test_no_parameter_of_the_training_block_is_ignored(received, refused):
    assert received.keys() | refused.keys() == TrainingConfig.model_fields.keys()
    assert not received.keys() & refused.keys()


def test_the_whole_of_what_the_backends_receive_for_the_defaults(planned, gpu):
    assert planned(backend="cpu").parameters == CPU_DEFAULTS
    assert planned(backend="instructlab-training").parameters == INSTRUCTLAB_DEFAULTS


@pytest.mark.parametrize(
    ("kubernetes", "processes"),
    [
        ({}, 1),
        ({"gpus_per_worker": 4}, 4),
        ({"gpus_per_worker": 4, "procs_per_worker": "2"}, 2),
    ],
)
def test_instructlab_training_runs_a_process_per_gpu(planned, gpu, kubernetes, processes):
    plan = planned(kubernetes, backend="instructlab-training")
    assert plan.parameters["nproc_per_node"] == processes
    assert plan.parameters["nnodes"] == 1


@pytest.mark.parametrize(
    "kubernetes",
    [{"gpus_per_worker": 0}, {"gpus_per_worker": 1, "procs_per_worker": "2"}],
)
def test_a_process_without_a_gpu_of_its_own_is_refused(planned, gpu, kubernetes):
    with pytest.raises(UserError, match="it needs a GPU for each process"):
        planned(kubernetes, backend="instructlab-training")


@pytest.mark.parametrize("backend", ["cpu", "instructlab-training"])
def test_several_nodes_are_refused(planned, gpu, backend):
    with pytest.raises(UserError, match=r"kubernetes\.workers: 4: .*: set 1"):
        planned({"workers": 4}, backend=backend)


def test_a_batch_larger_than_the_training_set_is_refused(planned):
    with pytest.raises(UserError, match=r"effective_batch_size \(128\) is larger .* \(127 rows\)"):
        planned(backend="cpu", given={"train_rows": 127})
    assert planned(backend="cpu", given={"train_rows": 128})


def test_a_run_that_would_write_no_model_is_refused(planned, gpu):
    values = {"checkpoint_at_epoch": False, "save_samples": 0}
    with pytest.raises(UserError, match="would write no model at all: set one of them"):
        planned(backend="instructlab-training", **values)
    assert planned(backend="cpu", **values)  # it always writes the model at the end


# Which backend.


def test_auto_takes_the_gpu_where_there_is_one(gpu):
    assert choose_backend(TrainingConfig()) == "instructlab-training"


def test_auto_takes_the_cpu_elsewhere(no_gpu):
    assert choose_backend(TrainingConfig()) == "cpu"


def test_a_gpu_backend_without_a_gpu_is_refused(no_gpu):
    with pytest.raises(UserError, match="needs an NVIDIA GPU and this machine has none"):
        choose_backend(TrainingConfig(backend="instructlab-training"))


def test_cpu_is_taken_by_name_where_there_is_a_gpu(gpu):
    assert choose_backend(TrainingConfig(backend="cpu")) == "cpu"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_is_none(monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert has_nvidia_gpu() is False


# The fingerprint names the run folder: what would train another model has another one.


@pytest.mark.parametrize("parameter", sorted(CPU.keys() - {"algorithm", "backend", "hf_token_env"}))
def test_each_parameter_changes_the_fingerprint(planned, other_model, parameter):
    value = other_model if parameter == "base_model" else CPU[parameter][0]
    common = needed_with(parameter)
    plain = planned(backend="cpu", **common)
    changed = planned(**{"backend": "cpu", **common, parameter: value})
    assert changed.fingerprint != plain.fingerprint


def test_backend_data_base_model_and_attempt_change_the_fingerprint(planned, gpu):
    plain = planned(backend="cpu")
    ref = plain.base_model
    fingerprints = {
        plain.fingerprint,
        planned(backend="instructlab-training").fingerprint,
        planned(backend="cpu", given={"data_digest": "d2"}).fingerprint,
        planned(
            backend="cpu", given={"base_model": ref.model_copy(update={"digest": "b2"})}
        ).fingerprint,
        planned(backend="cpu", given={"attempt": 1}).fingerprint,
        planned(backend="cpu", given={"attempt": 2}).fingerprint,
    }
    assert len(fingerprints) == 6


def test_the_code_version_changes_the_fingerprint(planned, monkeypatch):
    before = planned(backend="cpu").fingerprint
    monkeypatch.setattr(plan_module, "CODE_VERSION", "another")
    assert planned(backend="cpu").fingerprint != before


def test_gpus_change_the_fingerprint_where_they_train(planned, gpu):
    one, two = ({"gpus_per_worker": n} for n in (1, 2))
    assert (
        planned(one, backend="instructlab-training").fingerprint
        != planned(two, backend="instructlab-training").fingerprint
    )
    assert planned(one, backend="cpu").fingerprint == planned(two, backend="cpu").fingerprint


def test_nothing_else_changes_the_fingerprint(planned, tiny_model):
    plain = planned(backend="cpu")
    elsewhere = BaseModelRef(
        name="another name",
        kind="folder",
        location="/another/place",
        digest=plain.base_model.digest,
        hf_token_env="OTHER",
    )
    for other in (
        planned(backend="cpu"),
        planned(backend="cpu", given={"models_dir": Path("/other")}),
        planned(backend="cpu", given={"train_file": Path("/other.jsonl")}),
        planned(backend="cpu", given={"train_rows": 5000}),
        planned(backend="cpu", given={"base_model": elsewhere}),
        planned(backend="cpu", hf_token_env="MY_TOKEN"),
        planned({"memory": "8Gi", "cpu": "2", "labels": {"a": "b"}, "image": "i"}, backend="cpu"),
    ):
        assert other.fingerprint == plain.fingerprint


def test_a_plan_survives_the_way_to_the_worker(planned):
    plan = planned(backend="cpu", env={"A": "b"}, chat_template="chatml")
    assert TrainPlan.model_validate_json(plan.model_dump_json()) == plan


def test_a_plan_holds_no_token(planned, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_s3cr3t")
    assert "hf_s3cr3t" not in planned(backend="cpu").model_dump_json()
