"""A training that failed says what it died of and what to change; what is unknown stays a log."""

from __future__ import annotations

import re

import pytest

from ft_assets.training.failures import explain, smaller_parts

CUDA_OOM = (
    "[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 5.79 GiB. GPU 0 has a "
    "total capacity of 79.10 GiB of which 3.10 GiB is free. Process 7 has 75.99 GiB memory in use."
)
HOST_OOM = """
Root Cause (first observed failure):
[0]:
  time      : 2026-11-21_10:00:00
  rank      : 0 (local_rank: 0)
  exitcode  : -9 (pid: 4711)
  traceback : Signal 9 (SIGKILL) received by PID 4711
"""

# what stands in the log, and the remedy that is named
BY_INPUT = {
    "ValueError: Tokenizer has neither pad_token_id nor eos_token_id.": "training.special_tokens",
    "Asking to pad but the tokenizer does not have a padding token.": "training.special_tokens",
    "ValueError: Tokenizer does not have a chat template. Please": "training.chat_template",
    "Cannot use chat template functions because tokenizer.chat_template is not set": "chatml",
    "ModuleNotFoundError: No module named 'flash_attn'": "training.attention to sdpa",
    "Flash attention is enabled but flash_attn is not installed.": "training.attention to sdpa",
    "RuntimeError: FlashAttention only supports Ampere GPUs or newer.": "Ampere",
    "Tried to use liger kernels, but they are not installed.": "training.use_liger to false",
    "Please ensure it is installed by running: pip install wandb": "leave the parameter out",
    "ValueError: WANDB_API_KEY is not set.": "WANDB_API_KEY",
    "RuntimeError: CUDA error: device-side assert triggered": "another model",
    "Epoch: 0, Step: 3, Rank: 0, loss = nan, grad_accum_steps = 2": "training.learning_rate",
    '{"step": 3, "loss": NaN, "lr": 1e-05}': "training.learning_rate",
    "OSError: [Errno 28] No space left on device: '/runs/hf_format'": "free space",
    "No space left on device (28) in /dev/shm/nccl-xyz": "medium: Memory",
}
BY_MACHINE = {
    "RuntimeError: Found no NVIDIA driver on your system.": "driver",
    "torch.distributed.DistBackendError: NCCL error in: x.cpp:12, ncclSystemError": "NCCL",
    "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)": "NCCL",
    "torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError": "master_port",
    "EADDRINUSE, message: address already in use": "port",
    "CUDA error: uncorrectable ECC error encountered": "another node",
}


@pytest.mark.parametrize("line", BY_INPUT)
def test_what_the_input_can_mend_is_said_with_the_remedy(line):
    known = explain(f"step 1\n{line}\nmore\n")
    assert known is not None
    assert BY_INPUT[line] in known.message
    assert not known.again


@pytest.mark.parametrize("line", BY_MACHINE)
def test_what_the_machines_did_may_be_tried_again(line):
    known = explain(f"step 1\n{line}\n{HOST_OOM}")  # torchrun kills the other ranks
    assert known is not None
    assert BY_MACHINE[line] in known.message
    assert known.again


def test_a_full_gpu_is_said_with_its_numbers_and_the_given_remedies_in_order():
    known = explain(CUDA_OOM + HOST_OOM, remedies=["set a to 1", "set b to 2"])
    assert known is not None
    assert known.message == (
        "the GPU ran out of memory (it has 79.10 GiB, and 5.79 GiB more were asked for): set a to "
        "1; or set b to 2"
    )


@pytest.mark.parametrize(("log", "status"), [(HOST_OOM, None), ("", -9)])
def test_a_killed_process_points_at_the_hosts_memory(log, status):
    known = explain(log, exit_status=status, remedies=["no"], host_remedies=["set m to 64Gi"])
    assert known is not None
    assert known.message.endswith("most likely the host ran out of memory: set m to 64Gi")


@pytest.mark.parametrize("log", ["", "Traceback\nKeyError: 'x'\n", "loss = 2.31, grad_norm = 1"])
def test_what_is_not_known_is_not_explained(log):
    assert explain(log) is None
    assert explain(log, exit_status=1) is None


@pytest.mark.parametrize(
    ("parameters", "first"),
    [
        ({"max_tokens_per_gpu": 10_000, "max_seq_len": 2048}, "max_tokens_per_gpu to 5000 "),
        ({"max_tokens_per_gpu": 10_000, "max_seq_len": 8192}, "max_tokens_per_gpu to 8192 "),
        (
            {"max_tokens_per_gpu": 4096, "max_seq_len": 4096},
            "max_seq_len and max_tokens_per_gpu to 2048 ",
        ),
    ],
)
def test_without_an_estimate_the_remedies_name_parameters_and_values(parameters, first):
    remedies = smaller_parts({**parameters, "use_liger": False})
    assert re.search(rf"set training\.{first}", remedies[0])
    assert "set training.use_liger to true" in remedies[1]


def test_a_remedy_that_is_in_use_is_not_named_again():
    parameters = {"max_tokens_per_gpu": 10, "max_seq_len": 5, "use_liger": True}
    assert not any("use_liger" in remedy for remedy in smaller_parts(parameters))
