"""The arguments of one call of training_hub's ``sft``, ``osft`` or ``lora_sft`` for our backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ft_assets.training.in_process.world import ALONE, World
from ft_assets.training.mask import MaskPolicy
from resources.launcher.child import Reporter

_SAYS_NOTHING = frozenset({"peft_enabled", "peft_type"})
"""training_hub adds them to every ``lora_sft``."""


@dataclass(frozen=True)
class Settings:
    """What is trained and how; the names are those of the ``training`` block.

    An argument that is not here raises: none is ignored.
    """

    algorithm: Literal["sft", "osft", "lora_sft"]
    model_path: str
    data_path: str
    ckpt_output_dir: str
    held_out_path: str | None
    mask: dict[str, Any]
    machine: dict[str, Any]
    """Threads, precision and device of this run, decided once."""
    report: Reporter
    fingerprint: str

    num_epochs: int
    effective_batch_size: int
    max_seq_len: int
    max_tokens_per_gpu: int
    seed: int
    learning_rate: float
    warmup_steps: int
    lr_scheduler: str
    optimizer: str
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    max_grad_norm: float
    precision: str
    threads: int
    attention: str
    gradient_checkpointing: bool
    checkpoint_at_epoch: bool
    save_samples: int
    save_full_state: bool
    checkpoint_choice: Literal["last", "best"]
    on_unhealthy: Literal["stop", "warn"]
    validation_rows: int
    validation_steps: int = 0
    micro_batch_size: int = 0
    """0: as many rows as ``max_tokens_per_gpu`` allows."""
    sample_packing: bool | None = None
    lr_scheduler_kwargs: dict[str, Any] = field(default_factory=dict[str, Any])

    unfreeze_rank_ratio: float = 0.25
    target_patterns: list[str] = field(default_factory=list[str])

    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: list[str] = field(default_factory=list[str])
    use_rslora: bool = False
    use_dora: bool = False
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    init_lora_weights: bool | str = True
    rank_pattern: dict[str, int] = field(default_factory=dict[str, int])
    alpha_pattern: dict[str, int] = field(default_factory=dict[str, int])
    bnb_4bit_quant_type: str = "nf4"
    bnb_4bit_compute_dtype: str = "bfloat16"
    bnb_4bit_use_double_quant: bool = True

    tensorboard: bool = False
    wandb_project: str | None = None
    wandb_entity: str | None = None
    wandb_run_name: str | None = None
    mlflow_tracking_uri: str | None = None
    mlflow_experiment_name: str | None = None
    mlflow_run_name: str | None = None
    profiler_steps_start: int = 0
    profiler_steps: int = 0

    world: World = ALONE
    """The processes that train together; this one is among them."""

    callbacks: list[Any] = field(default_factory=list[Any])
    """Always passed by training_hub; ours has none, since the Trainer's own do the work."""

    def __post_init__(self) -> None:
        if self.callbacks:
            raise TypeError("the backend takes no training_hub callbacks")

    @classmethod
    def of(cls, algorithm: str, parameters: dict[str, Any]) -> Settings:
        """From what training_hub hands to a backend; osft passes a None for what is not set."""
        given = {
            name: value
            for name, value in parameters.items()
            if value is not None and name not in _SAYS_NOTHING
        }
        return cls(algorithm=algorithm, **{"held_out_path": None, **given})  # pyright: ignore[reportArgumentType]

    @property
    def run_dir(self) -> Path:
        """The folder of this run, which belongs to one fingerprint."""
        return Path(self.ckpt_output_dir)

    @property
    def policy(self) -> MaskPolicy:
        """Which turns are trained on."""
        return MaskPolicy.model_validate(self.mask)

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return str(self.machine["device"])
