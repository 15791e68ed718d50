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
from ft_assets.training.arguments import packages
from ft_assets.training.base_model import BaseModelRef, locate
from ft_assets.training.plan import (
    TrainPlan,
    backend_arguments,
    choose_backend,
    has_nvidia_gpu,
    make_plan,
)
from ft_assets.training.refusals import refuse_beyond_the_run
from ft_assets.training.templates import NAMED
from resources.errors import UserError

OTHER_MODEL = "OTHER MODEL"  # stands for the path of another model folder

# What the platform honours for every backend: (value, place in the plan, value there)
PLATFORM: dict[str, tuple[Any, str, Any]] = {
    "base_model": (OTHER_MODEL, "base_model.name", OTHER_MODEL),
    "hf_token_env": ("MY_TOKEN", "base_model.hf_token_env", "MY_TOKEN"),
    "chat_template": ("chatml", "base_model.chat_template", NAMED["chatml"]),
    "special_tokens": (
        {"pad_token": "<|im_start|>"},
        "base_model.special_tokens",
        {"pad_token": "<|im_start|>"},
    ),
    "roles_to_train": (["user", "assistant"], "mask.roles_to_train", ("user", "assistant")),
    "train_on_inputs": (True, "mask.train_on_inputs", True),
    "train_on_eos": ("last", "mask.train_on_eos", "last"),
    "unmask_messages": (True, "mask.roles_to_train", ("user", "assistant", "tool")),
    "env": ({"A": "b,c"}, "env.A", "b,c"),
    "on_unhealthy": ("warn", "on_unhealthy", "warn"),
}
# ... and those that are arguments of every backend: (value, argument)
COMMON: dict[str, tuple[Any, str]] = {
    "num_epochs": (3, "num_epochs"),
    "effective_batch_size": (16, "effective_batch_size"),
    "max_tokens_per_gpu": (20_000, "max_tokens_per_gpu"),
    "max_seq_len": (4096, "max_seq_len"),
    "learning_rate": (2e-5, "learning_rate"),
    "warmup_steps": (7, "warmup_steps"),
    "checkpoint_at_epoch": (False, "checkpoint_at_epoch"),
}
PROFILER = {
    "profiler_steps_start": (2, "profiler_steps_start"),
    "profiler_steps": (3, "profiler_steps"),
}
TORCHRUN = {
    "node_rank": (1, "node_rank"),
    "rdzv_id": ("job", "rdzv_id"),
    "rdzv_endpoint": ("host:29500", "rdzv_endpoint"),
    "master_addr": ("host", "master_addr"),
    "master_port": (29500, "master_port"),
}
TRACKERS = {
    "wandb_project": ("p", "wandb_project"),
    "wandb_entity": ("e", "wandb_entity"),
    "wandb_run_name": ("r", "wandb_run_name"),
    "mlflow_tracking_uri": ("http://mlflow", "mlflow_tracking_uri"),
    "mlflow_experiment_name": ("x", "mlflow_experiment_name"),
    "mlflow_run_name": ("r", "mlflow_run_name"),
}
ADAMW = {
    "beta1": (0.8, "beta1"),
    "beta2": (0.99, "beta2"),
    "eps": (1e-6, "eps"),
    "weight_decay": (0.1, "weight_decay"),
}
OF_OSFT = {
    "unfreeze_rank_ratio": (0.5, "unfreeze_rank_ratio"),
    "target_patterns": (["q_proj"], "target_patterns"),
}
OF_LORA = {
    "lora_r": (8, "lora_r"),
    "lora_alpha": (8, "lora_alpha"),
    "lora_dropout": (0.1, "lora_dropout"),
    "lora_target_modules": (["q_proj"], "target_modules"),
    "use_rslora": (True, "use_rslora"),
    "use_dora": (True, "use_dora"),
}
QUANTIZED = {"load_in_4bit": (True, "load_in_4bit"), "load_in_8bit": (True, "load_in_8bit")}

NOT_SFT = "it belongs to algorithm"
NO_TORCHRUN = dict.fromkeys(TORCHRUN, (None, "one process trains"))
IN_PROCESS: dict[str, tuple[Any, str]] = {
    **COMMON,
    **ADAMW,
    "seed": (7, "seed"),
    "lr_scheduler": ("linear", "lr_scheduler"),
    "lr_scheduler_kwargs": ({"num_cycles": 1.5}, "lr_scheduler_kwargs"),
    "max_grad_norm": (0.5, "max_grad_norm"),
    "precision": ("bf16", "precision"),
    "attention": ("eager", "attention"),
    "gradient_checkpointing": (True, "gradient_checkpointing"),
    "sample_packing": (False, "sample_packing"),
    "micro_batch_size": (4, "micro_batch_size"),
    "save_samples": (256, "save_samples"),
    "save_full_state": (True, "save_full_state"),
    "validation_steps": (5, "validation_steps"),
    "validation_rows": (9, "validation_rows"),
    **PROFILER,
}
IN_PROCESS_REFUSES: dict[str, tuple[Any, str]] = {
    "use_liger": (True, "Liger's kernels run on GPUs"),
    "fsdp_sharding_strategy": ("FULL_SHARD", "one process trains: leave it out"),
    "save_final_checkpoint": (False, "the model at the end is always written: set true"),
    "osft_memory_efficient_init": (True, "mini-trainer 0.9 has no such parameter"),
    "use_processed_dataset": (True, "are recognised by themselves: leave it out"),
    "data_output_dir": ("/tmp/x", "in the run's own folder: leave it out"),
    **{name: (value, "one process trains: leave it out") for name, (value, _) in TORCHRUN.items()},
}
CPU_ONLY = {"threads": (2, "threads")}
CPU_REFUSES = {
    "optimizer": ("adamw_8bit", "8-bit optimizers need bitsandbytes and an NVIDIA GPU"),
}
GPU_REFUSES: dict[str, tuple[Any, str]] = {
    "micro_batch_size": (4, "by max_tokens_per_gpu: leave it out"),
    "gradient_accumulation_steps": (4, "by max_tokens_per_gpu: leave it out"),
    "sample_packing": (True, "by max_tokens_per_gpu: leave it out"),
    "gradient_checkpointing": (True, "the backend decides that itself: leave it out"),
    "threads": (2, "it is for the cpu backend: set 0"),
    "optimizer": ("adamw_8bit", "it has one implementation of AdamW"),
    "max_grad_norm": (0.5, "it always cuts gradients at 1.0: set 1.0"),
    "precision": ("fp32", "bf16"),
    "use_processed_dataset": (True, "are recognised by themselves: leave it out"),
    "data_output_dir": ("/tmp/x", "in the run's own folder: leave it out"),
    "osft_memory_efficient_init": (True, ""),
}
OTHER_OSFT = {name: (value, "it belongs to algorithm osft") for name, (value, _) in OF_OSFT.items()}
OTHER_LORA = {
    name: (value, "it belongs to algorithm lora_sft")
    for name, (value, _) in {**OF_LORA, **QUANTIZED}.items()
}

# (algorithm, backend): what arrives there under which name, and what is refused with which words
RECEIVES: dict[tuple[str, str], dict[str, tuple[Any, str]]] = {
    ("sft", "cpu"): {**IN_PROCESS, **CPU_ONLY},
    ("osft", "cpu"): {**IN_PROCESS, **CPU_ONLY, **OF_OSFT},
    ("lora_sft", "cpu"): {**IN_PROCESS, **CPU_ONLY, **OF_LORA},
    ("lora_sft", "peft"): {
        **IN_PROCESS,
        **OF_LORA,
        **QUANTIZED,
        "optimizer": ("adamw_8bit", "optimizer"),
        "attention": ("flash_attention_2", "attention"),
    },
    ("sft", "instructlab-training"): {
        **COMMON,
        **TORCHRUN,
        **PROFILER,
        **ADAMW,
        "seed": (7, "random_seed"),
        "use_liger": (True, "use_liger"),
        "save_samples": (256, "save_samples"),
        "save_full_state": (True, "accelerate_full_state_at_epoch"),
        "fsdp_sharding_strategy": ("NO_SHARD", "fsdp_sharding_strategy"),
        "tensorboard": (True, "tensorboard"),
        "attention": ("sdpa", "disable_flash_attn"),
    },
    ("osft", "mini-trainer"): {
        **COMMON,
        **TORCHRUN,
        **PROFILER,
        **OF_OSFT,
        "seed": (7, "seed"),
        "use_liger": (True, "use_liger"),
        "save_samples": (256, "min_samples_per_checkpoint"),
        "save_final_checkpoint": (False, "save_final_checkpoint"),
        "lr_scheduler": ("linear", "lr_scheduler"),
        "lr_scheduler_kwargs": ({"num_cycles": 1.5}, "lr_scheduler_kwargs"),
        "validation_steps": (5, "validation_frequency"),
        "validation_rows": (9, "validation_rows"),
    },
}
REFUSES: dict[tuple[str, str], dict[str, tuple[Any, str]]] = {
    ("sft", "cpu"): {**IN_PROCESS_REFUSES, **CPU_REFUSES, **OTHER_OSFT, **OTHER_LORA},
    ("osft", "cpu"): {**IN_PROCESS_REFUSES, **CPU_REFUSES, **OTHER_LORA},
    ("lora_sft", "cpu"): {
        **IN_PROCESS_REFUSES,
        **CPU_REFUSES,
        **OTHER_OSFT,
        "load_in_4bit": (True, "quantized weights need an NVIDIA GPU"),
        "load_in_8bit": (True, "quantized weights need an NVIDIA GPU"),
    },
    ("lora_sft", "peft"): {
        **IN_PROCESS_REFUSES,
        **OTHER_OSFT,
        "threads": (2, "it is for the cpu backend: set 0"),
    },
    ("sft", "instructlab-training"): {
        **GPU_REFUSES,
        **OTHER_OSFT,
        **OTHER_LORA,
        "save_final_checkpoint": (False, "say what it writes: set true"),
        "lr_scheduler": ("linear", "it always uses cosine: set cosine"),
        "lr_scheduler_kwargs": ({"num_cycles": 1.5}, "its scheduler takes no arguments"),
        "validation_steps": (5, "the split has held out its own: set 0"),
        "validation_rows": (9, "it measures no held-out rows"),
    },
    ("osft", "mini-trainer"): {
        **GPU_REFUSES,
        **OTHER_LORA,
        "fsdp_sharding_strategy": ("NO_SHARD", "FSDP2 shards fully there"),
        "attention": ("sdpa", "it chooses by what is installed: set auto"),
        "tensorboard": (True, "it writes no TensorBoard files"),
        "save_full_state": (True, "when it is told to end, always and only then: set false"),
        **{name: (value, "does not reach its training") for name, (value, _) in ADAMW.items()},
    },
}
CASES = sorted(RECEIVES)
# Parameters that the tables above need not repeat: what they choose is tested on its own below.
APART = {
    "algorithm",
    "backend",
    "extra",
    "checkpoint_choice",
    "gradient_accumulation_steps",
    "start_from",
    "tensorboard",
    *TRACKERS,
    *PLATFORM,
}

# The whole of what training_hub.sft receives for the defaults, beside the paths.
CPU_DEFAULTS = {
    "num_epochs": 1,
    "effective_batch_size": 128,
    "learning_rate": 5e-6,
    "max_seq_len": 8192,
    "max_tokens_per_gpu": 10_000,
    "warmup_steps": 0,
    "checkpoint_at_epoch": True,
    "save_samples": 0,
    "save_full_state": False,
    "seed": 42,
    "lr_scheduler": "cosine",
    "optimizer": "adamw_torch_fused",
    "beta1": 0.9,
    "beta2": 0.95,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "precision": "auto",
    "threads": 0,
    "attention": "auto",
    "gradient_checkpointing": False,
    "validation_rows": 128,
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
    "on_demand_checkpointing": True,
    "random_seed": 42,
    "use_liger": False,
    "beta1": 0.9,
    "beta2": 0.95,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "nproc_per_node": 1,
    "nnodes": 1,
    "process_data": False,
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that shows a GPU, with bitsandbytes; there need be none to plan for one."""
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(packages, "find_spec", lambda name: object())


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
            "held_out_file": Path("/held-out.jsonl"),
            "train_rows": 1000,
            "base_model": locate(
                config.base_model,
                folder=Path("/"),
                models=Path("/models"),
                chat_template=config.chat_template,
                hf_token_env=config.hf_token_env,
                special_tokens=config.special_tokens,
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
    if parameter == "save_final_checkpoint":
        return {"checkpoint_at_epoch": True}
    return {}


def both(planned, case: tuple[str, str], parameter: str, value: Any) -> tuple[TrainPlan, TrainPlan]:
    """The plan without and with a value."""
    algorithm, backend = case
    common = {"algorithm": algorithm, "backend": backend, **needed_with(parameter)}
    return planned(**common), planned(**{**common, parameter: value})


@pytest.mark.parametrize("parameter", PLATFORM)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_platform_honours(planned, other_model, gpu, case, parameter):
    value, place, there = PLATFORM[parameter]
    value, there = (other_model if item == OTHER_MODEL else item for item in (value, there))
    plain, changed = both(planned, case, parameter, value)
    assert at(changed, place) == there
    assert plain != changed


@pytest.mark.parametrize(
    ("case", "parameter"),
    [(case, parameter) for case in CASES for parameter in RECEIVES[case]],
    ids=lambda part: part if isinstance(part, str) else "-".join(part),
)
def test_the_backend_receives(planned, gpu, case, parameter):
    value, argument = RECEIVES[case][parameter]
    plain, changed = both(planned, case, parameter, value)
    there = True if argument == "disable_flash_attn" else value
    assert changed.parameters[argument] == there
    assert plain.parameters.get(argument) != there


@pytest.mark.parametrize(
    ("case", "parameter"),
    [(case, parameter) for case in CASES for parameter in REFUSES[case]],
    ids=lambda part: part if isinstance(part, str) else "-".join(part),
)
def test_the_backend_refuses(planned, gpu, case, parameter):
    value, said = REFUSES[case][parameter]
    with pytest.raises(UserError) as error:
        both(planned, case, parameter, value)
    start = f"training.{parameter}: {value} cannot be honoured by the {case[1]} backend: "
    assert str(error.value).startswith(start)
    assert said in str(error.value)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_no_parameter_of_the_training_block_is_ignored(case):
    received, refused = RECEIVES[case].keys(), REFUSES[case].keys()
    assert received | refused | APART == TrainingConfig.model_fields.keys()
    assert not received & refused - {"optimizer"}


@pytest.mark.parametrize("parameter", TRACKERS)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_every_backend_takes_the_trackers(case, parameter):
    """Without a plan, which refuses a tracker whose package is not installed."""
    value, argument = TRACKERS[parameter]
    config = TrainingConfig(algorithm=case[0], backend=case[1], **{parameter: value})
    assert backend_arguments(config, KubernetesConfig(), case[1])[argument] == value


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"wandb_run_name": "r"}, r"wandb_run_name has no effect without training.wandb_project"),
        ({"mlflow_run_name": "r"}, r"has no effect without training.mlflow_tracking_uri"),
    ],
)
def test_a_tracker_that_could_not_work_is_refused(planned, values, said):
    with pytest.raises(UserError, match=said):
        planned(backend="cpu", **values)


# What lies outside the run's steps, once they are known


def test_a_warm_up_that_never_ends_is_refused():
    config = TrainingConfig(warmup_steps=10)
    refuse_beyond_the_run(config, 11)
    with pytest.raises(UserError, match=r"warmup_steps \(10\) is not below the run's 10 optimizer"):
        refuse_beyond_the_run(config, 10)


def test_steps_to_profile_that_are_never_done_are_refused():
    config = TrainingConfig(profiler_steps_start=8, profiler_steps=3)
    refuse_beyond_the_run(config, 11)
    with pytest.raises(UserError, match=r"profiler_steps_start: 8 .* 10 optimizer steps"):
        refuse_beyond_the_run(config, 10)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_best_checkpoint_is_chosen_where_a_held_out_loss_is_measured(planned, gpu, case):
    values = {"algorithm": case[0], "backend": case[1], "checkpoint_choice": "best"}
    if case[1] == "instructlab-training":
        with pytest.raises(UserError, match=r"validation_steps: 5 cannot be honoured"):
            planned(**values, validation_steps=5)
        return
    plan = planned(**values, validation_steps=5)
    assert plan.checkpoint_choice == "best"
    assert plan.parameters.get("save_best_val_loss", True)


def test_a_held_out_loss_without_held_out_rows_is_refused(planned):
    with pytest.raises(UserError, match=r"nothing is held out: lower dataset\.split"):
        planned(backend="cpu", validation_steps=5, given={"held_out_file": None})


def test_the_whole_of_what_the_backends_receive_for_the_defaults(planned, gpu):
    assert planned(backend="cpu").parameters == CPU_DEFAULTS
    assert planned(backend="instructlab-training").parameters == INSTRUCTLAB_DEFAULTS


# extra


@pytest.mark.parametrize(
    ("case", "extra"),
    [
        (("sft", "instructlab-training"), {"keep_last_checkpoint_only": True}),
        (("osft", "mini-trainer"), {"save_dtype": "bfloat16"}),
        (("lora_sft", "cpu"), {"init_lora_weights": "gaussian"}),
    ],
    ids="-".join,
)
def test_further_arguments_of_a_backend_are_passed_on(planned, gpu, case, extra):
    _, plan = both(planned, case, "extra", extra)
    assert extra.items() <= plan.parameters.items()


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_further_arguments_that_a_backend_does_not_have_are_refused(planned, gpu, case):
    with pytest.raises(UserError, match=r"training\.extra: no_such is no argument of the "):
        both(planned, case, "extra", {"no_such": 1})


def test_further_arguments_that_have_a_parameter_are_refused(planned, gpu):
    with pytest.raises(UserError, match=r"training\.extra: random_seed is already set"):
        planned(backend="instructlab-training", extra={"random_seed": 1})


# The parts of a batch


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ({"micro_batch_size": 4}, 4),
        ({"gradient_accumulation_steps": 8}, 4),
        ({"micro_batch_size": 4, "gradient_accumulation_steps": 8}, 4),
    ],
)
def test_of_micro_batch_accumulation_and_batch_the_third_follows(planned, values, rows):
    plan = planned(backend="cpu", effective_batch_size=32, **values)
    assert plan.parameters["micro_batch_size"] == rows


def test_parts_of_a_batch_that_contradict_each_other_are_refused(planned):
    values = {"micro_batch_size": 4, "gradient_accumulation_steps": 4}
    with pytest.raises(UserError, match=r"is 16 and effective_batch_size is 32: set .* to 16"):
        planned(backend="cpu", effective_batch_size=32, **values)


@pytest.mark.parametrize("name", ["micro_batch_size", "gradient_accumulation_steps"])
def test_parts_that_do_not_divide_the_batch_are_refused(planned, name):
    with pytest.raises(UserError, match=rf"{name} \(5\) does not divide effective_batch_size"):
        planned(backend="cpu", effective_batch_size=32, **{name: 5})


@pytest.mark.parametrize("case", [("sft", "instructlab-training"), ("osft", "mini-trainer")])
def test_ligers_kernels_are_missed_before_torchrun_starts(planned, gpu, monkeypatch, case):
    asked: list[str] = []
    monkeypatch.setattr(packages, "find_spec", asked.append)
    values = {"algorithm": case[0], "backend": case[1], "use_liger": True}
    with pytest.raises(UserError, match=r"use_liger needs .* pip install liger-kernel, or leave"):
        planned(**values)
    assert asked == ["liger_kernel"]


def test_peft_takes_one_gpu(planned, gpu):
    with pytest.raises(UserError, match=r"gpus_per_worker: 4: the peft backend trains on one GPU"):
        planned({"gpus_per_worker": 4}, algorithm="lora_sft", backend="peft")


def test_a_plan_of_an_earlier_version_names_the_remedy(planned):
    plan = planned(backend="cpu")
    assert TrainPlan.of_manifest({"plan": plan.model_dump(mode="json")}) == plan
    with pytest.raises(UserError, match="materialize finetuned_model again"):
        TrainPlan.of_manifest({"plan": {"algorithm": "sft"}})


def test_a_batch_smaller_than_the_number_of_processes_is_refused(planned, gpu):
    with pytest.raises(UserError, match=r"effective_batch_size \(2\) is below .* \(4\)"):
        planned({"gpus_per_worker": 4}, backend="instructlab-training", effective_batch_size=2)


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


@pytest.mark.parametrize(
    ("algorithm", "backend"),
    [("sft", "instructlab-training"), ("osft", "mini-trainer"), ("lora_sft", "peft")],
)
def test_auto_takes_the_gpu_where_there_is_one(gpu, algorithm, backend):
    assert choose_backend(TrainingConfig(algorithm=algorithm), KubernetesConfig()) == backend


@pytest.mark.parametrize("algorithm", ["sft", "osft", "lora_sft"])
def test_auto_takes_the_cpu_elsewhere(no_gpu, algorithm):
    assert choose_backend(TrainingConfig(algorithm=algorithm), KubernetesConfig()) == "cpu"


@pytest.mark.parametrize(
    ("algorithm", "backend"),
    [("sft", "instructlab-training"), ("osft", "mini-trainer"), ("lora_sft", "peft")],
)
def test_a_gpu_backend_without_a_gpu_is_refused(no_gpu, algorithm, backend):
    with pytest.raises(UserError, match="needs an NVIDIA GPU and this machine has none"):
        choose_backend(TrainingConfig(algorithm=algorithm, backend=backend), KubernetesConfig())


@pytest.mark.parametrize(
    ("algorithm", "backend", "remedy"),
    [
        ("sft", "mini-trainer", "set instructlab-training, cpu or auto"),
        ("osft", "instructlab-training", "set mini-trainer, cpu or auto"),
        ("lora_sft", "instructlab-training", "set peft, cpu or auto"),
        ("sft", "peft", "set instructlab-training, cpu or auto"),
    ],
)
def test_a_backend_of_another_algorithm_is_refused(gpu, algorithm, backend, remedy):
    with pytest.raises(UserError, match=f"{backend} does not train {algorithm}: {remedy}"):
        choose_backend(TrainingConfig(algorithm=algorithm, backend=backend), KubernetesConfig())


def test_a_backend_that_does_not_work_is_refused_with_the_one_that_does(gpu):
    with pytest.raises(UserError, match=r"trl 1\.16 no longer has, .*: set peft"):
        choose_backend(TrainingConfig(algorithm="lora_sft", backend="unsloth"), KubernetesConfig())


def test_cpu_is_taken_by_name_where_there_is_a_gpu(gpu):
    assert choose_backend(TrainingConfig(backend="cpu"), KubernetesConfig()) == "cpu"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_is_none(monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert has_nvidia_gpu() is False


# The fingerprint names the run folder: what would train another model has another one.


@pytest.mark.parametrize("parameter", sorted(RECEIVES["sft", "cpu"]))
def test_each_parameter_changes_the_fingerprint(planned, parameter):
    plain, changed = both(planned, ("sft", "cpu"), parameter, RECEIVES["sft", "cpu"][parameter][0])
    assert changed.fingerprint != plain.fingerprint


@pytest.mark.parametrize("parameter", sorted(PLATFORM.keys() - {"hf_token_env"}))
def test_what_the_platform_does_changes_the_fingerprint(planned, other_model, parameter):
    value = other_model if parameter == "base_model" else PLATFORM[parameter][0]
    plain, changed = both(planned, ("sft", "cpu"), parameter, value)
    assert changed.fingerprint != plain.fingerprint


def test_the_algorithm_changes_the_fingerprint(planned):
    plans = [planned(backend="cpu", algorithm=name) for name in ("sft", "osft", "lora_sft")]
    assert len({plan.fingerprint for plan in plans}) == 3


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
