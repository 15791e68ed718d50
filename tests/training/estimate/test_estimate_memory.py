"""Memory by part: golden numbers for each algorithm, and how they move with the parameters."""

from __future__ import annotations

import pytest

from ft_assets.training.estimate.memory import Memory, memory
from ft_assets.training.estimate.rows import Part, largest_part
from ft_assets.training.estimate.trained import trained_parameters
from ft_assets.training.estimate.world import GIB, World, bytes_of, gib
from tests.training.estimate.conftest import kubernetes, token_report, training

N = 1_543_714_304  # parameters of the model


def needed(model, *, gpus: int = 1, workers: int = 1, tokens: int = 8192, **parameters) -> Memory:
    config = training(**{"max_seq_len": 8192, "max_tokens_per_gpu": 8192, **parameters})
    world = World.of(config, kubernetes(gpus_per_worker=gpus, workers=workers))
    part = Part(tokens=tokens, trained_tokens=tokens, longest=tokens)
    return memory(model, config, world, trained_parameters(model, config), part)


def test_sft_holds_weights_gradients_and_two_moments_in_fp32(qwen):
    found = needed(qwen)
    assert (found.weights, found.gradients, found.optimizer) == (4 * N, 4 * N, 8 * N)
    assert found.logits == 8192 * 151936 * 16
    assert found.total == sum(found.model_dump().values())


def test_the_whole_of_a_run_on_one_gpu(qwen):
    """Golden: changes when the formulas do, and then deliberately."""
    assert {part: gib(count) for part, count in needed(qwen).model_dump().items()} == {
        "weights": 5.75,
        "gradients": 5.75,
        "optimizer": 11.5,
        "activations": 2.12,
        "logits": 18.55,
        "buffers": 1.93,
    }


def test_full_shard_divides_the_state_among_all_gpus(qwen):
    one, four = needed(qwen), needed(qwen, gpus=4, fsdp_sharding_strategy="FULL_SHARD")
    for part in ("weights", "gradients", "optimizer"):
        assert getattr(four, part) == getattr(one, part) // 4
    assert (four.activations, four.logits) == (one.activations, one.logits)


def test_hybrid_shard_divides_within_a_node_only(qwen):
    hybrid = needed(qwen, gpus=4, workers=2, fsdp_sharding_strategy="HYBRID_SHARD")
    full = needed(qwen, gpus=4, workers=2, fsdp_sharding_strategy="FULL_SHARD")
    assert hybrid.weights == N
    assert full.weights == N // 2


def test_instructlab_takes_hybrid_shard_when_none_is_named(qwen):
    assert needed(qwen, gpus=4) == needed(qwen, gpus=4, fsdp_sharding_strategy="HYBRID_SHARD")


def test_no_shard_divides_nothing(qwen):
    assert needed(qwen, gpus=4, fsdp_sharding_strategy="NO_SHARD").optimizer == 8 * N


def test_shard_grad_op_keeps_a_whole_copy_in_bf16(qwen):
    shard = needed(qwen, gpus=4, fsdp_sharding_strategy="SHARD_GRAD_OP")
    full = needed(qwen, gpus=4, fsdp_sharding_strategy="FULL_SHARD")
    assert shard.optimizer == full.optimizer
    assert 2 * N * 0.6 < shard.buffers - full.buffers < 2 * N


def test_osft_holds_all_factors_and_moves_some(qwen):
    found = needed(qwen, algorithm="osft", unfreeze_rank_ratio=0.25)
    trained = trained_parameters(qwen, training(algorithm="osft", unfreeze_rank_ratio=0.25))
    assert found.weights == 4 * trained.stored > 4 * N
    assert found.optimizer == 8 * trained.trainable < 8 * N / 2


def test_osft_needs_more_the_more_it_may_change(qwen):
    few, many = (needed(qwen, algorithm="osft", unfreeze_rank_ratio=r) for r in (0.1, 0.9))
    assert few.weights == pytest.approx(many.weights, rel=1e-3)
    assert few.optimizer < many.optimizer


def test_lora_on_the_cpu_holds_the_frozen_weights_in_fp32(qwen):
    found = needed(qwen, algorithm="lora_sft", backend="cpu")
    assert found.weights == 4 * (N + 18_464_768)


def test_lora_moves_the_adapter_alone(qwen):
    found = needed(qwen, algorithm="lora_sft")
    assert found.weights == 2 * N + 4 * 18_464_768  # frozen as published, in bf16
    assert found.optimizer == 8 * 18_464_768


@pytest.mark.parametrize(("flag", "width"), [("load_in_4bit", 0.516), ("load_in_8bit", 1.0)])
def test_qlora_packs_the_linear_layers(qwen, flag, width):
    found = needed(qwen, algorithm="lora_sft", **{flag: True})
    embedding = 151936 * 1536
    norms_and_biases = 28 * (2 * 1536 + 2048) + 1536
    packed = N - embedding - norms_and_biases
    expected = width * packed + 4 * (embedding + norms_and_biases) + 4 * 18_464_768
    assert found.weights == pytest.approx(expected, rel=1e-6)


def test_an_8_bit_optimizer_takes_a_quarter(qwen):
    assert needed(qwen, optimizer="adamw_8bit").optimizer == pytest.approx(2 * N, rel=0.03)


def test_activations_and_logits_grow_with_the_tokens_alone(qwen):
    half, full = needed(qwen, tokens=4096), needed(qwen, tokens=8192)
    assert full.activations == 2 * half.activations
    assert full.logits == 2 * half.logits
    assert full.weights == half.weights


def test_liger_never_holds_all_logits(qwen):
    assert needed(qwen, use_liger=True).logits * 100 < needed(qwen).logits


def test_recomputation_saves_activations_in_our_own_engine(qwen):
    kept = needed(qwen, algorithm="lora_sft")
    recomputed = needed(qwen, algorithm="lora_sft", gradient_checkpointing=True)
    assert recomputed.activations * 5 < kept.activations


def test_the_cpu_needs_twice_the_activations_in_fp32(qwen):
    fp32, bf16 = (needed(qwen, backend="cpu", precision=p) for p in ("fp32", "bf16"))
    assert bf16.activations < fp32.activations < 2 * bf16.activations
    heap = 0.4 * (bf16.activations - fp32.activations)
    kernels = 0.25 * GIB
    copies = bf16.buffers - fp32.buffers - heap - kernels
    assert copies == pytest.approx(2 * N, rel=0.01)  # of the matrices


def test_the_cpu_computes_logits_for_trained_tokens_only(qwen):
    config = training(backend="cpu")
    world = World.of(config, kubernetes())
    trained = trained_parameters(qwen, config)
    some = memory(qwen, config, world, trained, Part(tokens=1000, trained_tokens=100, longest=1000))
    every = memory(
        qwen, config, world, trained, Part(tokens=1000, trained_tokens=1000, longest=1000)
    )
    assert every.logits == 10 * some.logits


@pytest.mark.parametrize(
    ("text", "expected"),
    [("80Gi", 80 * GIB), ("64G", 64_000_000_000), ("1.5Gi", GIB * 3 // 2), ("1024", 1024)],
)
def test_quantities_are_those_of_kubernetes(text, expected):
    assert bytes_of(text) == expected


@pytest.mark.parametrize(
    ("algorithm", "gpus", "backend"),
    [
        ("sft", 1, "instructlab-training"),
        ("osft", 1, "mini-trainer"),
        ("lora_sft", 1, "peft"),
        ("osft", 0, "cpu"),
    ],
)
def test_auto_is_the_backend_of_the_algorithm_where_the_pod_has_a_gpu(algorithm, gpus, backend):
    world = World.of(training(algorithm=algorithm), kubernetes(gpus_per_worker=gpus))
    assert (world.backend, world.on_gpu) == (backend, gpus > 0)


def test_the_memory_is_that_of_the_gpu_or_of_the_pod():
    block = kubernetes(gpu_memory="40Gi", memory="8Gi")
    assert World.of(training(), block).memory_limit == 40 * GIB
    assert World.of(training(backend="cpu"), block).memory_limit == 8 * GIB


def test_without_a_report_a_part_is_full_and_all_of_it_trained_on():
    config = training(max_tokens_per_gpu=9000, max_seq_len=700)
    world = World.of(config, kubernetes())
    assert largest_part(config, world, None) == Part(tokens=9000, trained_tokens=9000, longest=700)


def test_a_part_is_never_larger_than_the_rows_of_a_batch():
    config = training(max_tokens_per_gpu=9000, effective_batch_size=8)
    report = token_report({100: 80}, trained_share=0.25)
    world = World.of(config, kubernetes(gpus_per_worker=2))
    # Four rows of 100 tokens per process; no row is longer than another.
    assert largest_part(config, world, report) == Part(tokens=400, trained_tokens=100, longest=100)


def test_a_part_has_room_for_the_longest_row():
    config = training(max_tokens_per_gpu=8192, max_seq_len=8192, effective_batch_size=1)
    report = token_report({50: 99, 6000: 1})
    assert largest_part(config, World.of(config, kubernetes()), report).tokens == 6000


def test_rows_one_by_one_where_packing_is_off():
    config = training(backend="cpu", sample_packing=False, effective_batch_size=8)
    report = token_report({100: 40, 300: 2})
    assert largest_part(config, World.of(config, kubernetes()), report).tokens == 300


def test_rows_one_by_one_without_a_report_are_of_full_length():
    config = training(backend="cpu", sample_packing=False, max_seq_len=4096)
    assert largest_part(config, World.of(config, kubernetes()), None).tokens == 4096


def test_a_micro_batch_bounds_the_part_in_our_own_engine():
    config = training(backend="cpu", micro_batch_size=2, max_tokens_per_gpu=8192)
    report = token_report({100: 40, 300: 40})
    assert largest_part(config, World.of(config, kubernetes()), report).tokens == 600
