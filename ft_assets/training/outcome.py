"""What a training run left behind, and the proof that it is whole.

The worker writes ``outcome.json`` last: where there is none, there is no model.
"""

from __future__ import annotations

# The checks read safetensors through a library without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from pathlib import Path
from typing import Any

from resources.errors import UserError
from resources.record import Record

OUTCOME_FILE = "outcome.json"


class TrainOutcome(Record):
    """Result of one run. Times in seconds, memory in MiB, losses in nats per token.

    None stands for what the backend does not say.
    """

    model_dir: str
    """The model folder, relative to the run folder."""
    base_model_dir: str
    steps: int
    epochs: float
    rows: int
    """Rows that were trained on."""
    rows_too_long: int
    """Rows of more than ``max_seq_len`` tokens: left out."""
    rows_untrained: int
    """Rows of which the mask leaves nothing: left out."""
    rows_cut: int
    """Raw text that was cut at the sequence length."""
    tokens: int | None
    """Non-padding tokens processed, over all epochs."""
    trained_tokens: int | None
    """Those among them that were trained on."""
    train_seconds: float
    """Time inside optimizer steps of this attempt."""
    tokens_per_second: float | None
    first_loss: float | None
    last_loss: float | None
    peak_memory_mib: float
    resumed_from_step: int
    settings: dict[str, Any]
    """What was decided at run time: threads, precision, packing; and the versions in use."""

    def save(self, run_dir: Path) -> None:
        """Write it, in one act."""
        partial = run_dir / (OUTCOME_FILE + ".partial")
        partial.write_text(self.model_dump_json(indent=1))
        partial.replace(run_dir / OUTCOME_FILE)

    @classmethod
    def load(cls, run_dir: Path) -> TrainOutcome | None:
        """The outcome in a run folder, if the run came to its end."""
        file = run_dir / OUTCOME_FILE
        return cls.model_validate_json(file.read_text()) if file.exists() else None


def verify_model(folder: Path) -> None:
    """Refuse a model folder that lacks a part, does not load, or holds a number that is not finite.

    Reads every tensor once; the model itself is built without memory for its weights.

    Raises:
        UserError: what is wrong, and what to change.
    """
    names = {path.name for path in folder.iterdir()}
    missing = [
        part
        for part, present in {
            "config.json": "config.json" in names,
            "safetensors weights": any(name.endswith(".safetensors") for name in names),
            "tokenizer.json": "tokenizer.json" in names or "tokenizer.model" in names,
        }.items()
        if not present
    ]
    if missing:
        raise UserError(f"the trained model in {folder.name} has no {', no '.join(missing)}")
    _refuse_unfinite(folder)
    _refuse_what_does_not_load(folder)


def _refuse_unfinite(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(file), framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (the handle is no mapping)
                    if not bool(tensors.get_tensor(name).isfinite().all()):
                        raise UserError(
                            f"the trained weights are not finite ({name} in {file.name}): lower "
                            "training.learning_rate or add warmup_steps"
                        )
        except SafetensorError as error:
            raise UserError(
                f"the trained weights in {folder.name}/{file.name} cannot be read, the file is cut "
                f"off or damaged: {error}. Check the disk and train again"
            ) from error


def _refuse_what_does_not_load(folder: Path) -> None:
    """As whoever uses the model will load it, on torch's device without memory."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        pair: Any = AutoModelForCausalLM.from_pretrained(
            folder, device_map="meta", dtype="auto", local_files_only=True, output_loading_info=True
        )
        AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"the trained model in {folder.name} does not load in transformers: {error}"
        ) from error
    loaded: dict[str, Any] = pair[1]
    for what in ("missing", "unexpected"):
        keys = sorted(loaded[f"{what}_keys"])
        if keys:
            raise UserError(
                f"the trained model in {folder.name} has {len(keys)} {what} weights, the first of "
                f"them {keys[0]}: it is not the model that its config.json describes"
            )
