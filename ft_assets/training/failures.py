"""What a training process that ended badly died of, from its log: in words, with the remedy.

Pure: text in, text out. The signs are those that torch, torchrun and the GPU backends write; where
none is known, there is no explanation, and the log itself has to be read.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NO_TORCHRUN = (
    "torchrun is not on the PATH of the training process, and beside its Python neither: no model "
    "would be written. Install torch in the environment that trains, or put its bin folder on PATH"
)
TAIL = 64 * 1024
"""Bytes at the end of a log that are enough: the first error of a run stands near its end."""


@dataclass(frozen=True)
class KnownFailure:
    """Why a process ended, for the person who started it."""

    message: str
    again: bool = False
    """Whether the same run may end well when it is tried again: the machines failed, not it."""


@dataclass(frozen=True)
class _Sign:
    pattern: str
    message: str
    again: bool = False


_OUT_OF_GPU_MEMORY = (
    r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"
)
_KILLED = r"exitcode\s*:\s*-9\b|Signal 9 \(SIGKILL\)|exited with code -9\b"
_SIZES = re.compile(r"Tried to allocate ([\d.]+ \w+).*?total capacity of ([\d.]+ \w+)", re.DOTALL)
_LOWER_RATE = "lower training.learning_rate, add warmup_steps, or look for rows without content"

_SIGNS = (
    _Sign(
        r"neither pad_token_id nor eos_token_id|does not have a pad(ding)? token|"
        r"valid non-negative pad_token_id|padding token doesn't exist",
        "the tokenizer has no pad token: set training.special_tokens: {pad_token: TOKEN} to a "
        "token that its vocabulary has",
    ),
    _Sign(
        r"does not have a chat template|chat_template is not set",
        "the tokenizer has no chat template: set training.chat_template (chatml, for one)",
    ),
    _Sign(
        r"No module named 'flash_attn|flash_attn is not installed|"
        r"FlashAttention2 has been toggled on, but it cannot be used",
        "flash-attn is not installed where the run trained: install it in the training image, or "
        "set training.attention to sdpa",
    ),
    _Sign(
        r"FlashAttention only supports Ampere|Flash Attention on unsupported hardware",
        "this GPU is too old for flash-attn: set training.attention to sdpa, or train on an Ampere "
        "GPU or a newer one",
    ),
    _Sign(
        r"No module named 'liger_kernel|liger kernels, but they are not installed",
        "training.use_liger is true and liger-kernel is not installed where the run trained: "
        "install it in the training image, or set training.use_liger to false",
    ),
    _Sign(
        r"pip install (wandb|mlflow|tensorboard)|package (wandb|mlflow|tensorboard) could not",
        "a tracker is asked for (training.wandb_project, mlflow_tracking_uri or tensorboard) and "
        "its package is not installed where the run trained: install it, or leave the parameter "
        "out",
    ),
    _Sign(
        r"WANDB_API_KEY is not set|No API key configured",
        "training.wandb_project is set and WANDB_API_KEY is not: give the step the key as an "
        "environment variable, or leave wandb_project out",
    ),
    _Sign(
        r"device-side assert triggered|indexSelectLargeIndex|srcIndex < srcSelectDimSize",
        "a token id is outside the model's embedding: the rows were tokenized for another model, "
        "or training.special_tokens adds one that the model does not have",
    ),
    _Sign(
        r"\bloss (?:= |became |is )[-+]?(?:nan|inf)\b|\"(?:avg_)?loss\": (?:NaN|-?Infinity)",
        f"the training loss is not finite: {_LOWER_RATE}",
    ),
    _Sign(
        r"No space left on device.{0,400}/dev/shm|/dev/shm.{0,400}No space left on device|"
        r"insufficient shared memory",
        "the shared memory is full: mount more (an emptyDir with medium: Memory at /dev/shm)",
    ),
    _Sign(
        r"No space left on device|Disk quota exceeded|Errno 28\b",
        "the disk is full: free space where the runs lie, or write fewer checkpoints "
        "(training.save_samples: 0, save_full_state: false)",
    ),
    _Sign(
        r"Found no NVIDIA driver|driver version is insufficient|No CUDA GPUs are available|"
        r"CUDA-capable device\(s\) is/are busy or unavailable",
        "the process saw no usable GPU: the node's driver is older than the image's CUDA, or the "
        "GPU is taken",
        again=True,
    ),
    _Sign(
        r"uncorrectable ECC error|Xid |CUDA error: unspecified launch failure|GPU is lost",
        "the GPU failed: try again on another node",
        again=True,
    ),
    _Sign(
        r"NCCL error|ncclSystemError|ncclUnhandledCudaError|ncclRemoteError|"
        r"caught collective operation timeout|Watchdog caught collective",
        "the GPUs could not talk to each other (NCCL): a rank was lost, or the network between "
        "them does not work; NCCL_DEBUG=INFO in training.env says more",
        again=True,
    ),
    _Sign(
        r"RendezvousTimeoutError|RendezvousConnectionError|RendezvousClosedError|"
        r"EADDRINUSE|Address already in use",
        "torchrun's processes did not find each other, or their port was taken: try again, or set "
        "training.master_addr and master_port",
        again=True,
    ),
)


def explain(
    log: str,
    *,
    exit_status: int | None = None,
    remedies: Sequence[str] = (),
    host_remedies: Sequence[str] = (),
) -> KnownFailure | None:
    """Why a training process ended; None where nothing that is known stands in the log.

    Args:
        log: its log, or the last :data:`TAIL` bytes of it.
        exit_status: of the process, where it is known; negative for a signal.
        remedies: what helps when a GPU's memory was full, the mildest first.
        host_remedies: what helps when the host's memory was.
    """
    if re.search(_OUT_OF_GPU_MEMORY, log):
        return KnownFailure(_with("the GPU ran out of memory" + _sizes(log), remedies))
    for sign in _SIGNS:
        if re.search(sign.pattern, log, re.IGNORECASE | re.DOTALL):
            return KnownFailure(sign.message, sign.again)
    if exit_status == -signal.SIGKILL or re.search(_KILLED, log):
        said = "a training process was killed (SIGKILL): most likely the host ran out of memory"
        return KnownFailure(_with(said, host_remedies or ["give the step more kubernetes.memory"]))
    return None


def smaller_parts(parameters: Mapping[str, Any]) -> list[str]:
    """What lowers the memory on a GPU, in numbers, where no estimate of the run is at hand.

    Args:
        parameters: the arguments of training_hub's function.
    """
    tokens, longest = int(parameters["max_tokens_per_gpu"]), int(parameters["max_seq_len"])
    remedies: list[str] = []
    if tokens > longest:
        lower = max(longest, tokens // 2)
        remedies.append(
            f"set training.max_tokens_per_gpu to {lower} (it is {tokens}): the result stays the "
            "same"
        )
    else:
        lower = max(1, longest // 2)
        remedies.append(
            f"set training.max_seq_len and max_tokens_per_gpu to {lower} (they are {longest} and "
            f"{tokens}): longer rows are left out and counted"
        )
    if parameters.get("use_liger") is False:
        remedies.append("set training.use_liger to true: the logits are never whole in memory")
    if parameters.get("gradient_checkpointing") is False:
        remedies.append("set training.gradient_checkpointing to true: about a third more time")
    return [*remedies, "set training.algorithm to lora_sft, or ask for more GPUs"]


def _sizes(log: str) -> str:
    found = _SIZES.search(log)
    return f" (it has {found[2]}, and {found[1]} more were asked for)" if found else ""


def _with(said: str, remedies: Sequence[str]) -> str:
    return f"{said}: {'; or '.join(remedies)}" if remedies else said
