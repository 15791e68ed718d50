"""Each parameter has one name, a default and a range; the seeds' names are accepted beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from ft_assets.config import (
    AutomationConfig,
    DatasetConfig,
    EvaluationConfig,
    KubernetesConfig,
    PipelineSpec,
    RegistryConfig,
    TrainingConfig,
)
from ft_assets.config.block import Block

BLOCKS: dict[str, type[Block]] = {
    "dataset": DatasetConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "registry": RegistryConfig,
    "kubernetes": KubernetesConfig,
    "automation": AutomationConfig,
}
DATASET = {"uri": "/data/rows.jsonl"}

# Every parameter of the SFT pipeline that this project replaces: where it lives here, and a value
# other than the default that it takes.
SFT_SEED: dict[str, tuple[str, Any]] = {
    "phase_01_dataset_man_data_uri": ("dataset.uri", "hf://org/data"),
    "phase_01_dataset_man_data_split": ("dataset.split", 0.8),
    "phase_01_dataset_opt_subset": ("dataset.subset", 100),
    "phase_02_train_man_batch": ("training.effective_batch_size", 64),
    "phase_02_train_man_epochs": ("training.num_epochs", 2),
    "phase_02_train_man_gpu": ("kubernetes.gpus_per_worker", 2),
    "phase_02_train_man_model": ("training.base_model", "org/model"),
    "phase_02_train_man_tokens": ("training.max_tokens_per_gpu", 20_000),
    "phase_02_train_man_workers": ("kubernetes.workers", 2),
    "phase_02_train_opt_annotations": ("kubernetes.annotations", {"a/b": "c d"}),
    "phase_02_train_opt_cpu": ("kubernetes.cpu", "8"),
    "phase_02_train_opt_env_vars": ("training.env", {"NCCL_IB_HCA": "mlx5_0,mlx5_1"}),
    "phase_02_train_opt_fsdp_sharding": ("training.fsdp_sharding_strategy", "HYBRID_SHARD"),
    "phase_02_train_opt_hf_token": ("training.hf_token_env", "OTHER_TOKEN"),
    "phase_02_train_opt_labels": ("kubernetes.labels", {"team": "a"}),
    "phase_02_train_opt_learning_rate": ("training.learning_rate", 1e-5),
    "phase_02_train_opt_lr_scheduler": ("training.lr_scheduler", "linear"),
    "phase_02_train_opt_lr_warmup": ("training.warmup_steps", 5),
    "phase_02_train_opt_max_seq_len": ("training.max_seq_len", 4096),
    "phase_02_train_opt_memory": ("kubernetes.memory", "32Gi"),
    "phase_02_train_opt_num_procs": ("kubernetes.procs_per_worker", "1"),
    "phase_02_train_opt_pull_secret": ("kubernetes.image_pull_secret", "pull"),
    "phase_02_train_opt_runtime": ("kubernetes.runtime", "another"),
    "phase_02_train_opt_save_epoch": ("training.checkpoint_at_epoch", False),
    "phase_02_train_opt_save_full_state": ("training.save_full_state", True),
    "phase_02_train_opt_save_samples": ("training.save_samples", 256),
    "phase_02_train_opt_seed": ("training.seed", 7),
    "phase_02_train_opt_use_liger": ("training.use_liger", True),
    "phase_03_eval_man_tasks": ("evaluation.tasks", ["mmlu"]),
    "phase_03_eval_opt_batch": ("evaluation.batch", "8"),
    "phase_03_eval_opt_gen_kwargs": ("evaluation.gen_kwargs", {"max_gen_toks": 8}),
    "phase_03_eval_opt_limit": ("evaluation.limit", 10),
    "phase_03_eval_opt_log_samples": ("evaluation.log_samples", False),
    "phase_03_eval_opt_model_args": ("evaluation.model_args", {"dtype": "float32"}),
    "phase_03_eval_opt_verbosity": ("evaluation.verbosity", "DEBUG"),
    "phase_04_registry_man_address": ("registry.address", ""),
    "phase_04_registry_man_author": ("registry.author", "me"),
    "phase_04_registry_man_name": ("registry.name", "my-model"),
    "phase_04_registry_man_version": ("registry.version", "2.0.0"),
    "phase_04_registry_opt_port": ("registry.port", 8080),
    "phase_04_registry_opt_description": ("registry.description", "what it is"),
    "phase_04_registry_opt_format_name": ("registry.format_name", "pytorch"),
    "phase_04_registry_opt_format_version": ("registry.format_version", "2.0"),
}
# The parameters that the OSFT pipeline names otherwise, or has beside those above.
OSFT_SEED: dict[str, tuple[str, Any]] = {
    "phase_02_train_man_train_batch": ("training.effective_batch_size", 64),
    "phase_02_train_man_train_epochs": ("training.num_epochs", 2),
    "phase_02_train_man_train_gpu": ("kubernetes.gpus_per_worker", 2),
    "phase_02_train_man_train_model": ("training.base_model", "org/model"),
    "phase_02_train_man_train_tokens": ("training.max_tokens_per_gpu", 20_000),
    "phase_02_train_man_train_unfreeze": ("training.unfreeze_rank_ratio", 0.5),
    "phase_02_train_man_train_workers": ("kubernetes.workers", 2),
    "phase_02_train_opt_lr_scheduler_kwargs": (
        "training.lr_scheduler_kwargs",
        {"num_cycles": 0.25},
    ),
    "phase_02_train_opt_processed_data": ("training.use_processed_dataset", True),
    "phase_02_train_opt_save_final": ("training.save_final_checkpoint", False),
    "phase_02_train_opt_target_patterns": ("training.target_patterns", ["q_proj", "k_proj"]),
    "phase_02_train_opt_unmask": ("training.unmask_messages", True),
    "phase_03_eval_man_eval_tasks": ("evaluation.tasks", ["mmlu"]),
    "phase_04_registry_man_reg_author": ("registry.author", "me"),
    "phase_04_registry_man_reg_name": ("registry.name", "my-model"),
    "phase_04_registry_man_reg_version": ("registry.version", "2.0.0"),
}
# Those of the finetuning component.
COMPONENT_SEED: dict[str, tuple[str, Any]] = {
    "training_base_model": ("training.base_model", "org/model"),
    "training_effective_batch_size": ("training.effective_batch_size", 64),
    "training_max_tokens_per_gpu": ("training.max_tokens_per_gpu", 20_000),
    "training_max_seq_len": ("training.max_seq_len", 4096),
    "training_learning_rate": ("training.learning_rate", 1e-5),
    "training_lr_warmup_steps": ("training.warmup_steps", 5),
    "training_checkpoint_at_epoch": ("training.checkpoint_at_epoch", False),
    "training_num_epochs": ("training.num_epochs", 2),
    "training_data_output_dir": ("training.data_output_dir", "/tmp/x"),
    "training_envs": ("training.env", {"A": "b,c"}),
    "training_resource_cpu_per_worker": ("kubernetes.cpu", "8"),
    "training_resource_gpu_per_worker": ("kubernetes.gpus_per_worker", 2),
    "training_resource_memory_per_worker": ("kubernetes.memory", "32Gi"),
    "training_resource_num_procs_per_worker": ("kubernetes.procs_per_worker", "1"),
    "training_resource_num_workers": ("kubernetes.workers", 2),
    "training_runtime": ("kubernetes.runtime", "another"),
    "training_metadata_labels": ("kubernetes.labels", {"team": "a"}),
    "training_metadata_annotations": ("kubernetes.annotations", {"a/b": "c d"}),
    "training_unfreeze_rank_ratio": ("training.unfreeze_rank_ratio", 0.5),
    "training_osft_memory_efficient_init": ("training.osft_memory_efficient_init", True),
    "training_target_patterns": ("training.target_patterns", ["q_proj"]),
    "training_seed": ("training.seed", 7),
    "training_use_liger": ("training.use_liger", True),
    "training_use_processed_dataset": ("training.use_processed_dataset", True),
    "training_unmask_messages": ("training.unmask_messages", True),
    "training_lr_scheduler": ("training.lr_scheduler", "linear"),
    "training_lr_scheduler_kwargs": ("training.lr_scheduler_kwargs", {"num_cycles": 0.25}),
    "training_save_final_checkpoint": ("training.save_final_checkpoint", False),
    "training_save_samples": ("training.save_samples", 256),
    "training_accelerate_full_state_at_epoch": ("training.save_full_state", True),
    "training_fsdp_sharding_strategy": ("training.fsdp_sharding_strategy", "SHARD_GRAD_OP"),
    "training_lora_r": ("training.lora_r", 8),
    "training_lora_alpha": ("training.lora_alpha", 8),
    "training_lora_dropout": ("training.lora_dropout", 0.1),
    "training_load_in_4bit": ("training.load_in_4bit", True),
    "training_load_in_8bit": ("training.load_in_8bit", True),
    "training_use_rslora": ("training.use_rslora", True),
    "training_use_dora": ("training.use_dora", True),
    "training_sample_packing": ("training.sample_packing", False),
}
SEEDS = {**SFT_SEED, **OSFT_SEED, **COMPONENT_SEED}

# Those that have no place here, with a word of the reason that the user gets.
SFT_SEED_NOT_TAKEN = {
    "phase_01_dataset_opt_hf_token": ("dataset", "environment variable HF_TOKEN"),
}


def block_of(name: str, /, **values: Any) -> Block:
    return BLOCKS[name].model_validate({**(DATASET if name == "dataset" else {}), **values})


@pytest.mark.parametrize("seed", SEEDS)
def test_every_parameter_of_the_seeds_sets_the_one_parameter_that_it_means(seed):
    path, value = SEEDS[seed]
    name, parameter = path.split(".")
    takers = [block for block, cls in BLOCKS.items() if seed in cls.seed_names()]
    assert takers == [name]
    given = {seed: value}
    if name == "dataset" and parameter != "uri":
        given["uri"] = DATASET["uri"]
    if path == "registry.port":
        given["address"] = "http://registry"
    block = BLOCKS[name].model_validate(given)
    assert getattr(block, parameter) == value
    default = BLOCKS[name].model_fields[parameter].get_default()
    assert getattr(block, parameter) != default or parameter == "address"


@pytest.mark.parametrize("seed", SFT_SEED_NOT_TAKEN)
def test_a_parameter_of_the_seed_without_a_place_here_is_explained(seed, refusal):
    name, reason = SFT_SEED_NOT_TAKEN[seed]
    assert not any(seed in cls.seed_names() for cls in BLOCKS.values())
    uri = "uri: /data" if name == "dataset" else ""
    dataset = "" if name == "dataset" else "dataset: {uri: /data}"
    message = refusal(f"{dataset}\n{name}:\n  {seed}: 8080\n  {uri}\n")
    assert f"{name}.{seed}: " in message
    assert reason in message
    assert "did you mean" not in message


@pytest.mark.parametrize("block", BLOCKS)
def test_a_seeds_name_means_one_parameter_and_hides_none(block):
    everywhere = [name for cls in BLOCKS.values() for name in cls.seed_names()]
    assert len(everywhere) == len(set(everywhere))
    assert not set(BLOCKS[block].seed_names()) & set(BLOCKS[block].model_fields)


def test_both_names_of_one_parameter_are_refused_even_when_they_agree():
    with pytest.raises(ValidationError) as error:
        TrainingConfig.model_validate({"num_epochs": 2, "phase_02_train_man_epochs": 2})
    assert (
        "phase_02_train_man_epochs and num_epochs are the same parameter: keep one of them"
        in error.value.errors()[0]["msg"]
    )


def test_two_seed_names_of_one_parameter_are_refused():
    given = {"phase_02_train_man_epochs": 2, "training_num_epochs": 3}
    with pytest.raises(ValidationError, match="are the same parameter"):
        TrainingConfig.model_validate(given)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_parameter_says_what_it_does(block):
    for name, field in BLOCKS[block].model_fields.items():
        assert field.description, name


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_frozen_and_takes_no_other_key(block):
    with pytest.raises(ValidationError, match="Extra inputs"):
        block_of(block, no_such_key=1)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(block_of(block), next(iter(BLOCKS[block].model_fields)), None)


def test_the_defaults_are_those_of_the_sft_pipeline():
    spec = PipelineSpec.model_validate({"name": "x", "dataset": DATASET})
    assert spec.dataset.split == 0.9
    assert spec.training.base_model == "Qwen/Qwen2.5-1.5B-Instruct"
    assert spec.training.effective_batch_size == 128
    assert spec.training.max_tokens_per_gpu == 10_000
    assert spec.training.max_seq_len == 8192
    assert spec.training.learning_rate == 5e-6
    assert spec.training.checkpoint_at_epoch is True
    assert spec.evaluation.tasks == ["arc_easy"]
    assert spec.registry.name == "sft-model"
    assert (spec.kubernetes.cpu, spec.kubernetes.memory) == ("4", "64Gi")


REFUSED_VALUES = [
    ("dataset", "uri", "  ", "blank"),
    ("dataset", "uri", "", "at least 1 character"),
    ("dataset", "uri", "/a/{partition}/{partition}", "more than once"),
    ("dataset", "uri", "/a/{day}", "not {partition}"),
    ("dataset", "uri", "/a/{partition", "not {partition}"),
    ("dataset", "split", 0, "greater than 0"),
    ("dataset", "split", 1.01, "less than or equal to 1"),
    ("dataset", "split", float("nan"), "less than or equal to 1"),
    ("dataset", "subset", -1, "greater than or equal to 0"),
    ("dataset", "seed", 2**32, "less than or equal"),
    ("dataset", "near_duplicates", 1.5, "less than or equal to 1"),
    ("dataset", "on_bad_rows", "skip", "'fail' or 'drop'"),
    ("training", "algorithm", "dpo", "'lora_sft'"),
    ("training", "backend", "deepspeed", "'mini-trainer'"),
    ("training", "unfreeze_rank_ratio", 1.0, "less than 1"),
    ("training", "unfreeze_rank_ratio", 0.0, "greater than 0"),
    ("training", "lora_r", 0, "greater than or equal to 1"),
    ("training", "lora_dropout", 1.0, "less than 1"),
    ("training", "beta2", 1.0, "less than 1"),
    ("training", "special_tokens", {"padding": "x"}, "no special token: there are pad_token"),
    ("training", "profiler_steps", 101, "less than or equal to 100"),
    ("training", "master_port", 70_000, "less than or equal to 65535"),
    ("kubernetes", "gpu_memory", "80 GB", "no Kubernetes quantity"),
    ("training", "mlflow_tracking_uri", "https://me:pw@host", "MLFLOW_TRACKING_PASSWORD"),
    ("kubernetes", "gpu_hour_price", -1, "greater than or equal to 0"),
    ("training", "base_model", "", "at least 1 character"),
    ("training", "num_epochs", 0, "greater than or equal to 1"),
    ("training", "num_epochs", 1.5, "integer"),
    ("training", "effective_batch_size", 0, "greater than or equal to 1"),
    ("training", "max_seq_len", 20, "greater than 20"),
    ("training", "learning_rate", 0, "greater than 0"),
    ("training", "learning_rate", 1, "less than 1"),
    ("training", "learning_rate", float("inf"), "less than 1"),
    ("training", "warmup_steps", -1, "greater than or equal to 0"),
    ("training", "lr_scheduler", "cosin", "'cosine'"),
    ("training", "seed", -1, "greater than or equal to 0"),
    ("training", "fsdp_sharding_strategy", "FULL", "'FULL_SHARD'"),
    ("training", "hf_token_env", "A TOKEN", "match pattern"),
    ("training", "env", {"1A": "x"}, "not the name of an environment variable"),
    ("training", "env", {"A": 1}, "valid string"),
    ("training", "env", "A=b,C=d", "valid dictionary"),
    ("evaluation", "batch", "0", "auto or a whole number"),
    ("evaluation", "batch", "many", "auto or a whole number"),
    ("evaluation", "limit", 0, "-1 for all"),
    ("evaluation", "limit", -2, "greater than or equal to -1"),
    ("evaluation", "verbosity", "LOUD", "'DEBUG'"),
    ("registry", "address", "registry.example.org", "write https://HOST, or http://HOST"),
    ("registry", "address", "ftp://registry", "write https://HOST, or http://HOST"),
    ("registry", "address", "https://", "write https://HOST, or http://HOST"),
    ("registry", "address", "https://registry:8443", "the port is a parameter of its own"),
    ("registry", "address", "https://registry#api", "without ? and #"),
    ("registry", "address", "mlflow://host", "MLflow adapter is not built yet"),
    ("registry", "address", "mlflow+https://host", "MLflow adapter is not built yet"),
    ("registry", "port", 0, "greater than or equal to 1"),
    ("registry", "port", 65_536, "less than or equal to 65535"),
    ("registry", "timeout", 0, "greater than 0"),
    ("registry", "timeout", float("nan"), "less than or equal to 3600"),
    ("registry", "retries", -1, "greater than or equal to 0"),
    ("registry", "token_env", "MY TOKEN", "match pattern"),
    ("registry", "token_file", "token", "match pattern"),
    ("registry", "custom_ca", "ca.pem", "match pattern"),
    ("registry", "name", " ", "match pattern"),
    ("registry", "version", "1.0", "auto or three numbers"),
    ("registry", "version", "01.0.0", "auto or three numbers"),
    ("registry", "base_version", "auto", "auto or three numbers"),
    ("registry", "format_name", "onnx", "'safetensors'"),
    ("kubernetes", "workers", 0, "greater than or equal to 1"),
    ("kubernetes", "gpus_per_worker", -1, "greater than or equal to 0"),
    ("kubernetes", "procs_per_worker", "0", "auto or a whole number"),
    ("kubernetes", "cpu", "many", "no Kubernetes quantity"),
    ("kubernetes", "memory", "64 GB", "no Kubernetes quantity"),
    ("kubernetes", "labels", {"a": "not a label"}, "not a label value"),
    ("kubernetes", "labels", {"-a": "b"}, "not a Kubernetes label key"),
    ("kubernetes", "annotations", {"a/b/c": "d"}, "not a Kubernetes label key"),
    ("automation", "schedule", "every day", "no cron expression"),
]


@pytest.mark.parametrize(("block", "name", "value", "said"), REFUSED_VALUES)
def test_a_value_out_of_range_is_refused(block, name, value, said):
    with pytest.raises(ValidationError) as error:
        block_of(block, **{name: value})
    (only,) = error.value.errors()
    assert only["loc"][0] == name
    assert said in only["msg"]


@pytest.mark.parametrize(
    ("block", "name", "value", "kept"),
    [
        ("evaluation", "batch", 16, "16"),
        ("kubernetes", "procs_per_worker", 2, "2"),
        ("kubernetes", "cpu", 2, "2"),
        ("kubernetes", "cpu", "500m", "500m"),
        ("kubernetes", "labels", {"example.com/team": ""}, {"example.com/team": ""}),
        ("automation", "schedule", "0 6 * * 1", "0 6 * * 1"),
        ("registry", "version", "10.2.3", "10.2.3"),
        ("dataset", "split", 1, 1.0),
        ("training", "algorithm", "OSFT", "osft"),
        ("training", "algorithm", "LORA_SFT", "lora_sft"),
        ("training", "target_patterns", "q_proj, k_proj", ["q_proj", "k_proj"]),
        ("training", "target_patterns", "", []),
        ("training", "lora_target_modules", "q_proj,v_proj", ["q_proj", "v_proj"]),
        ("training", "lr_scheduler_kwargs", "", {}),
    ],
)
def test_a_value_may_be_written_as_yaml_reads_it(block, name, value, kept):
    assert getattr(block_of(block, **{name: value}), name) == kept


@pytest.mark.parametrize(
    ("block", "values", "said"),
    [
        (
            "training",
            {"max_seq_len": 9000, "max_tokens_per_gpu": 8000},
            "max_tokens_per_gpu (8000) is below max_seq_len (9000)",
        ),
        (
            "training",
            {"effective_batch_size": 64, "save_samples": 100},
            "save_samples (100) is not a multiple of effective_batch_size (64)",
        ),
        (
            "training",
            {"save_full_state": True, "checkpoint_at_epoch": False},
            "save_full_state needs checkpoints",
        ),
        ("dataset", {"subset": 1}, "subset: 1 cannot be split in two"),
        ("training", {"load_in_4bit": True, "load_in_8bit": True}, "are both true: keep one"),
        (
            "training",
            {"unmask_messages": True, "roles_to_train": ["user"]},
            "both say which roles are trained on: keep one",
        ),
        (
            "training",
            {"rdzv_endpoint": "a:1", "master_addr": "a"},
            "rdzv_endpoint and master_addr exclude each other",
        ),
        (
            "training",
            {"checkpoint_choice": "best"},
            "needs a held-out loss to choose by: set validation_steps",
        ),
        (
            "training",
            {"lr_scheduler_kwargs": "num_cycles=0.5"},
            "lr_scheduler_kwargs is a map here",
        ),
        (
            "training",
            {"lr_scheduler_kwargs": {"min_lr": 0.1}},
            "min_lr is not known to cosine, which takes num_cycles",
        ),
        (
            "training",
            {"lr_scheduler_kwargs": {"num_cycles": "0.5"}},
            "num_cycles is '0.5': write a number",
        ),
        (
            "training",
            {"lr_scheduler": "warmup_stable_decay"},
            "needs lr_scheduler_kwargs: {num_decay_steps: N}",
        ),
        (
            "training",
            {"lr_scheduler": "cosine_with_min_lr"},
            "needs one of min_lr and min_lr_rate",
        ),
    ],
)
def test_values_that_do_not_agree_are_refused(block, values, said):
    with pytest.raises(ValidationError, match=re.escape(said)):
        block_of(block, **values)


def test_the_schedulers_and_their_arguments_are_those_of_transformers():
    import inspect

    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    from ft_assets.config.training.optimizer import SCHEDULER_ARGUMENTS

    given_by_the_trainer = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
    theirs = {
        scheduler.value: set(inspect.signature(make).parameters) - given_by_the_trainer
        for scheduler, make in TYPE_TO_SCHEDULER_FUNCTION.items()
    }
    without_a_plan = {"reduce_lr_on_plateau", "greedy"}  # they follow a measured loss
    assert {k: v for k, v in theirs.items() if k not in without_a_plan} == SCHEDULER_ARGUMENTS


def test_a_pipeline_that_would_measure_nothing_is_refused():
    values = {
        "name": "x",
        "dataset": {**DATASET, "split": 1.0},
        "promotion": {"primary": "arc_easy/acc"},
    }
    PipelineSpec.model_validate(values)
    with pytest.raises(ValidationError, match="nothing would be measured"):
        PipelineSpec.model_validate({**values, "evaluation": {"tasks": []}})


def test_owners_are_people_or_teams():
    values = {"name": "x", "dataset": DATASET, "owners": ["team:a", "b@example.com"]}
    assert PipelineSpec.model_validate(values).owners == ["team:a", "b@example.com"]
    with pytest.raises(ValidationError, match="neither an e-mail address nor team:NAME"):
        PipelineSpec.model_validate({**values, "owners": ["alice"]})


@pytest.mark.parametrize(("uri", "drops"), [("/a.jsonl", False), ("/a/{partition}.jsonl", True)])
def test_a_pipeline_is_partitioned_when_its_dataset_arrives_in_drops(uri, drops):
    spec = PipelineSpec.model_validate({"name": "x", "dataset": {"uri": uri}})
    assert spec.partitioned is drops


def test_the_digest_follows_from_what_the_pipeline_says_and_from_nothing_else():
    values = {
        "name": "x",
        "dataset": DATASET,
        "training": {"num_epochs": 2, "seed": 1},
        "tags": {"a": "1", "b": "2"},
    }
    spec = PipelineSpec.model_validate(values)
    other_order = PipelineSpec.model_validate(
        {
            "tags": {"b": "2", "a": "1"},
            "training": {"training_seed": 1, "phase_02_train_man_epochs": 2, "warmup_steps": 0},
            "dataset": {**DATASET, "split": 0.9},
            "name": "x",
        }
    )
    assert spec == other_order
    assert spec.digest == other_order.digest
    assert hash(spec) == hash(other_order)
    changed = PipelineSpec.model_validate({**values, "training": {"num_epochs": 3, "seed": 1}})
    assert changed.digest != spec.digest


def test_the_digest_is_the_same_in_every_process():
    program = (
        "from ft_assets.config import PipelineSpec;"
        "print(PipelineSpec.model_validate({'name': 'x', 'dataset': {'uri': '/d'}}).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    here = PipelineSpec.model_validate({"name": "x", "dataset": {"uri": "/d"}}).digest
    assert done.stdout.strip() == here


def test_reading_the_pipelines_loads_no_heavy_library():
    program = (
        "import sys; import ft_assets.config as c; c.find_pipelines(); "
        "import ft_assets.training.plan, ft_assets.training.base_model; "
        "heavy = {'torch', 'transformers', 'datasets', 'huggingface_hub', 'training_hub', 'boto3',"
        " 'lm_eval', 'kubernetes', 'pyarrow', 'pandas', 'model_registry'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
