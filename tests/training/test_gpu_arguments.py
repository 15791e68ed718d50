"""Given a value in the training block, what the GPU backends' own arguments hold.

The call goes through training_hub's functions, up to where the backend would start torchrun: one
row per parameter of the tables in ``ft_assets/training/arguments``. training_hub and the backends
take unknown names in silence, so that only the far end shows what arrives.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training import instructlab
from ft_assets.training import plan as plan_module
from ft_assets.training.arguments import instructlab as instructlab_table
from ft_assets.training.arguments import mini_trainer as mini_trainer_table
from ft_assets.training.arguments import packages
from ft_assets.training.arguments.rules import To
from ft_assets.training.instructlab import training_arguments as sft_arguments
from ft_assets.training.mini_trainer import target_patterns
from ft_assets.training.mini_trainer import training_arguments as osft_arguments
from ft_assets.training.plan import TrainPlan, make_plan
from resources.errors import UserError
from tests.training.conftest import reference

pytestmark = pytest.mark.slow  # they import training_hub: some ten seconds, once

TENSORBOARD = "/run/tensorboard"

# parameter: (value, field of TrainingArgs or TorchrunArgs, value there)
BOTH: dict[str, tuple[Any, str, Any]] = {
    "max_tokens_per_gpu": (20_000, "max_tokens_per_gpu", 20_000),
    "learning_rate": (2e-5, "learning_rate", 2e-5),
    "checkpoint_at_epoch": (False, "checkpoint_at_epoch", False),
    "node_rank": (1, "node_rank", 1),
    "rdzv_id": ("job", "rdzv_id", "job"),
    "rdzv_endpoint": ("host:29500", "rdzv_endpoint", "host:29500"),
    "master_addr": ("host", "master_addr", "host"),
    "wandb_project": ("p", "wandb_project", "p"),
    "wandb_entity": ("e", "wandb_entity", "e"),
    "wandb_run_name": ("r", "wandb_run_name", "r"),
    "mlflow_tracking_uri": ("http://mlflow", "mlflow_tracking_uri", "http://mlflow"),
    "mlflow_experiment_name": ("x", "mlflow_experiment_name", "x"),
    "mlflow_run_name": ("r", "mlflow_run_name", "r"),
}
INSTRUCTLAB: dict[str, tuple[Any, str, Any]] = {
    **BOTH,
    "max_tokens_per_gpu": (20_000, "max_batch_len", 20_000),
    "max_seq_len": (4096, "max_seq_len", 4096),
    "num_epochs": (3, "num_epochs", 3),
    "effective_batch_size": (16, "effective_batch_size", 16),
    "warmup_steps": (7, "warmup_steps", 7),
    "seed": (7, "random_seed", 7),
    "use_liger": (True, "use_liger", True),
    "save_samples": (256, "save_samples", 256),
    "save_full_state": (True, "accelerate_full_state_at_epoch", True),
    "fsdp_sharding_strategy": ("SHARD_GRAD_OP", "fsdp_options.sharding_strategy", "SHARD_GRAD_OP"),
    "beta1": (0.8, "adamw_betas", [0.8, 0.95]),
    "beta2": (0.99, "adamw_betas", [0.9, 0.99]),
    "eps": (1e-6, "adamw_eps", 1e-6),
    "weight_decay": (0.1, "adamw_weight_decay", 0.1),
    "attention": ("sdpa", "disable_flash_attn", True),
    "tensorboard": (True, "tensorboard_log_dir", TENSORBOARD),
    "master_port": (29500, "master_port", 29500),
}
MINI_TRAINER: dict[str, tuple[Any, str, Any]] = {
    **BOTH,
    "num_epochs": (3, "max_epochs", 3),
    "effective_batch_size": (16, "batch_size", 16),
    "warmup_steps": (7, "num_warmup_steps", 7),
    "seed": (7, "seed", 7),
    "use_liger": (True, "use_liger_kernels", True),
    "save_samples": (256, "min_samples_per_checkpoint", 256),
    "save_final_checkpoint": (False, "save_final_checkpoint", False),
    "lr_scheduler": ("linear", "lr_scheduler", "linear"),
    "lr_scheduler_kwargs": ({"num_cycles": 1.5}, "lr_scheduler_kwargs", {"num_cycles": 1.5}),
    "unfreeze_rank_ratio": (0.5, "osft_unfreeze_rank_ratio", 0.5),
    "target_patterns": (["q_proj"], "osft_target_patterns", ["q_proj"]),
    "validation_steps": (5, "validation_frequency", 5),
    "master_port": (29500, "master_port", 29500),
}
TABLES = {"instructlab-training": INSTRUCTLAB, "mini-trainer": MINI_TRAINER}
# Done by what the worker writes: the rows in the token files.
IN_THE_TOKENS = {
    "instructlab-training": set[str](),
    "mini-trainer": {"max_seq_len", "validation_rows"},
}
# Taken out again before the call: a callback of ours does it (test_profiling_torchrun.py).
BY_A_CALLBACK = {"profiler_steps_start", "profiler_steps"}
# Without these a backend takes a value for nothing.
NEEDS: dict[str, dict[str, Any]] = {
    "wandb_entity": {"wandb_project": "p"},
    "wandb_run_name": {"wandb_project": "p"},
    "mlflow_experiment_name": {"mlflow_tracking_uri": "http://mlflow"},
    "mlflow_run_name": {"mlflow_tracking_uri": "http://mlflow"},
    "checkpoint_at_epoch": {"save_samples": 128},
    "master_port": {"master_addr": "host"},
    "save_final_checkpoint": {"checkpoint_at_epoch": True},
}
EXTRA = {
    "instructlab-training": {
        "keep_last_checkpoint_only": True,
        "trust_remote_code": True,
        "log_level": "DEBUG",
    },
    "mini-trainer": {
        "osft_upcast_dtype": "float64",
        "save_dtype": "bfloat16",
        "train_dtype": "bfloat16",
        "trust_remote_code": True,
        "val_loss_improvement_threshold": 0.1,
    },
}


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tiny_model: Path):
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)
    # The trackers' packages are installed where training runs, be they here or not.
    monkeypatch.setattr(packages, "find_spec", lambda name: name)
    for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def make(backend: str, **values: Any) -> TrainPlan:
        algorithm = "osft" if backend == "mini-trainer" else "sft"
        return make_plan(
            TrainingConfig.model_validate({"algorithm": algorithm, "backend": backend, **values}),
            KubernetesConfig(gpus_per_worker=2),
            base_model=reference(tiny_model),
            models_dir=Path("/models"),
            train_file=Path("/rows.jsonl"),
            held_out_file=Path("/held-out.jsonl"),
            data_digest="d",
            train_rows=1000,
        )

    return make


@pytest.fixture
def arrives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What the backend's run_training is called with, field by field."""

    def send(plan: TrainPlan, run_dir: Path = Path("/run")) -> dict[str, Any]:
        import mini_trainer
        import training_hub
        from training_hub.algorithms import sft as sft_module

        received: dict[str, Any] = {}
        (tmp_path / "rows.jsonl").write_text("{}\n")
        plan = plan.model_copy(update={"train_file": str(tmp_path / "rows.jsonl")})
        border = sft_module if plan.backend == "instructlab-training" else mini_trainer
        monkeypatch.setattr(border, "run_training", lambda **given: received.update(given))
        if plan.backend == "instructlab-training":
            training_hub.sft(**sft_arguments(plan, Path("/base"), run_dir))
        else:
            training_hub.osft(**osft_arguments(plan, Path("/base"), run_dir))
        return {**_fields(received["torch_args"]), **_fields(received["train_args"])}

    return send


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """flash-attn is installed; where it is not, attention is SDPA whatever the value."""
    monkeypatch.setattr(instructlab, "find_spec", lambda name: name)


def _fields(arguments: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(arguments):
        return {f.name: getattr(arguments, f.name) for f in dataclasses.fields(arguments)}
    return arguments.model_dump(mode="json")


def at(fields: dict[str, Any], place: str) -> Any:
    value: Any = fields
    for part in place.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize(
    ("backend", "parameter"),
    [(backend, parameter) for backend, table in TABLES.items() for parameter in table],
)
def test_the_backends_own_arguments_hold_the_value(planned, arrives, flash, backend, parameter):
    value, place, there = TABLES[backend][parameter]
    needed = NEEDS.get(parameter, {})
    assert at(arrives(planned(backend, **needed, **{parameter: value})), place) == there
    assert at(arrives(planned(backend)), place) != there


@pytest.mark.parametrize(
    ("backend", "table"),
    [
        ("instructlab-training", instructlab_table.TABLE),
        ("mini-trainer", mini_trainer_table.TABLE),
    ],
)
def test_every_parameter_that_is_passed_on_has_a_row(backend, table):
    passed_on = {name for name, rule in table.items() if isinstance(rule, To)}
    assert passed_on <= TABLES[backend].keys() | IN_THE_TOKENS[backend] | BY_A_CALLBACK
    assert TABLES[backend].keys() <= passed_on | {"attention"}


@pytest.mark.parametrize("backend", TABLES)
def test_every_further_argument_that_may_be_given_is_a_field_and_arrives(planned, arrives, backend):
    known = {"instructlab-training": instructlab_table, "mini-trainer": mini_trainer_table}
    assert EXTRA[backend].keys() == known[backend].EXTRA
    others: dict[str, Any] = {}
    if backend == "mini-trainer":
        others = {"validation_steps": 5, "checkpoint_choice": "best"}
    fields = arrives(planned(backend, extra=EXTRA[backend], **others))
    assert EXTRA[backend].items() <= fields.items()


def test_osft_on_tokens_of_ours_with_the_held_out_rows_beside(planned, arrives):
    fields = arrives(
        planned("mini-trainer", validation_steps=5, validation_rows=9, checkpoint_choice="best")
    )
    assert fields["osft"] is True
    assert fields["data_path"] == "/run/tokens/data.jsonl"
    assert fields["validation_data_path"] == "/run/tokens/held-out.jsonl"
    assert (fields["validate_at_final"], fields["save_best_val_loss"]) == (True, True)
    assert fields["output_dir"] == "/run"
    assert (fields["nproc_per_node"], fields["nnodes"]) == (2, 1)
    assert "validation_rows" not in fields


def test_sft_on_tokens_of_ours(planned, arrives):
    fields = arrives(planned("instructlab-training"))
    assert fields["process_data"] is False, "the worker wrote the tokens, with its own masks"
    assert fields["data_output_dir"] == "/run/tokens"
    assert fields["ckpt_output_dir"] == "/run"
    assert fields["disable_flash_attn"] is True, "flash-attn is not installed here"
    assert (fields["nproc_per_node"], fields["nnodes"]) == (2, 1)


def test_flash_attention_by_name_is_not_replaced_in_silence(planned, tmp_path):
    plan = planned("instructlab-training", attention="flash_attention_2")
    with pytest.raises(UserError, match=r"flash-attn is not installed here: .* or set auto"):
        sft_arguments(plan, Path("/base"), tmp_path)


def test_a_threshold_for_the_best_checkpoint_needs_that_choice(planned):
    with pytest.raises(UserError, match=r"set training\.checkpoint_choice to best"):
        planned("mini-trainer", extra={"val_loss_improvement_threshold": 0.1})


@pytest.mark.parametrize(
    "extra", [{"max_steps": 5}, {"training_mode": "infinite"}, {"validate_at_epoch": True}]
)
def test_what_would_set_other_parameters_aside_is_refused(planned, extra):
    with pytest.raises(UserError, match=r"training\.extra: "):
        planned("mini-trainer", extra=extra)


def test_the_folders_name_does_not_choose_the_matrices_of_osft(planned, tiny_model, tmp_path):
    """mini-trainer would take "opt" for the architecture."""
    from mini_trainer.osft_utils import get_model_patterns

    base = Path(shutil.copytree(tiny_model, tmp_path / "opt"))
    chosen = target_patterns(planned("mini-trainer"), base)
    assert set(chosen) == set(get_model_patterns("Qwen2ForCausalLM"))
    assert set(chosen) != set(get_model_patterns(str(base)))
    assert target_patterns(planned("mini-trainer", target_patterns=["q_proj"]), base) == ["q_proj"]
