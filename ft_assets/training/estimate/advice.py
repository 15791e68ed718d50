"""Which hyperparameters are unusual, and what the size of a model calls for.

The ranges are those of the reference that this project replaces (its tables of model size, adapter
and memory, and of hyperparameters) and of OSFT's documentation.
"""

from __future__ import annotations

from ft_assets.config import TrainingConfig
from ft_assets.training.estimate.rows import Rows

LEARNING_RATES = {"sft": (1e-5, 5e-5), "osft": (1e-6, 1e-4), "lora_sft": (1e-4, 3e-4)}
LORA_RANKS = (16, 64)
LORA_ALPHA_PER_RANK = (1, 2)
WARM_UP = (0.05, 0.10)
"""Share of the steps."""
MOST_EPOCHS = 3
MOST_UNFROZEN = 0.5
_FEW_STEPS = 20
"""Below it, a share of the steps is no whole step."""

_BILLION = 1e9
_SMALLEST = 0.9e9
SIZES: tuple[tuple[float, str, str], ...] = (
    (
        5e9,
        "1-3B",
        "LoRA preferred (8-16 GB), QLoRA a low-budget option, full fine-tuning on a single GPU",
    ),
    (
        10e9,
        "7-8B",
        "LoRA preferred (16-24 GB), QLoRA a good balance, full fine-tuning needs several GPUs",
    ),
    (
        20e9,
        "13-14B",
        "LoRA preferred (24-40 GB), QLoRA a good balance, full fine-tuning needs several GPUs",
    ),
    (
        float("inf"),
        "30-70B",
        "LoRA or QLoRA, QLoRA preferred on a single GPU (40-80 GB), full fine-tuning needs "
        "several nodes",
    ),
)
"""Parameters below which a row counts, its name in the table, and what it says."""


def guidance(parameters: int) -> str:
    """What the table of model sizes says of one."""
    name, says = next((name, says) for below, name, says in SIZES if parameters < below)
    smaller = "it is smaller than the smallest, " if parameters < _SMALLEST else ""
    return f"{parameters / _BILLION:.2f}B parameters; {smaller}{name}: {says}"


def warnings(config: TrainingConfig, rows: Rows | None) -> list[str]:
    """What is unusual in the hyperparameters, with the value to set; nothing here stops a run."""
    found = [_learning_rate(config), *_lora(config), *_osft(config), *_schedule(config, rows)]
    if config.num_epochs > MOST_EPOCHS:
        found.append(
            f"training.num_epochs: {config.num_epochs} is above {MOST_EPOCHS}: watch the held-out "
            "loss (training.validation_steps), which rises when the model learns rows by heart"
        )
    found.append(_batch(config, rows))
    return [warning for warning in found if warning]


def _learning_rate(config: TrainingConfig) -> str:
    low, high = LEARNING_RATES[config.algorithm]
    if low <= config.learning_rate <= high:
        return ""
    side = "below" if config.learning_rate < low else "above"
    return (
        f"training.learning_rate: {config.learning_rate:g} is {side} the usual {low:g} to {high:g} "
        f"of {config.algorithm}"
    )


def _lora(config: TrainingConfig) -> list[str]:
    if config.algorithm != "lora_sft":
        return []
    found: list[str] = []
    low, high = LORA_RANKS
    if not low <= config.lora_r <= high:
        found.append(f"training.lora_r: {config.lora_r} is outside the usual {low} to {high}")
    least, most = (factor * config.lora_r for factor in LORA_ALPHA_PER_RANK)
    if not least <= config.lora_alpha <= most:
        found.append(
            f"training.lora_alpha: {config.lora_alpha} is outside the usual 1 to 2 times lora_r "
            f"({least} to {most})"
        )
    return found


def _osft(config: TrainingConfig) -> list[str]:
    if config.algorithm != "osft" or config.unfreeze_rank_ratio <= MOST_UNFROZEN:
        return []
    return [
        f"training.unfreeze_rank_ratio: {config.unfreeze_rank_ratio:g} is above {MOST_UNFROZEN}: "
        "little of the model is protected from forgetting"
    ]


def _batch(config: TrainingConfig, rows: Rows | None) -> str:
    """A batch that only the rows that are left out would fill; a larger one is refused."""
    batch = config.effective_batch_size
    if rows is None or not rows.rows < batch <= rows.rows + rows.rows_dropped:
        return ""
    return (
        f"training.effective_batch_size: {batch} is above the {rows.rows} rows that are trained "
        "on, so that a step has fewer: lower it"
    )


def _schedule(config: TrainingConfig, rows: Rows | None) -> list[str]:
    if rows is None or rows.steps < _FEW_STEPS or config.lr_scheduler == "constant":
        return []
    share = config.warmup_steps / rows.steps
    low, high = WARM_UP
    if low <= share <= high:
        return []
    return [
        f"training.warmup_steps: {config.warmup_steps} is {share:.0%} of the {rows.steps} steps: "
        f"{low:.0%} to {high:.0%} is usual ({round(low * rows.steps)} to "
        f"{round(high * rows.steps)} steps)"
    ]
