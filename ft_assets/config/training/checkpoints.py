"""What is written while training, and which of it becomes the model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from ft_assets.config.block import Block, parameter


class CheckpointParameters(Block):
    """Checkpoints, and the held-out loss that may choose among them."""

    checkpoint_at_epoch: bool = parameter(
        True,
        "Write a checkpoint after each epoch.",
        seed=("phase_02_train_opt_save_epoch", "training_checkpoint_at_epoch"),
    )
    save_samples: int = parameter(
        0,
        "Also write a checkpoint each time this many rows have been seen; 0 does not. A multiple "
        "of effective_batch_size.",
        seed=("phase_02_train_opt_save_samples", "training_save_samples"),
        ge=0,
    )
    save_full_state: bool = parameter(
        False,
        "Checkpoints also hold the optimizer, so that an interrupted run goes on where it was. "
        "Three times the model's size on disk. Not with mini-trainer, whose only full state is the "
        "one of a run that is told to end.",
        seed=(
            "phase_02_train_opt_save_full_state",
            "training_accelerate_full_state_at_epoch",
            "accelerate_full_state_at_epoch",
        ),
    )
    save_final_checkpoint: bool = parameter(
        True,
        "Write the model at the end. Only mini-trainer can leave it out, when it writes one after "
        "each epoch.",
        seed=("phase_02_train_opt_save_final", "training_save_final_checkpoint"),
    )
    checkpoint_choice: Literal["last", "best"] = parameter(
        "last",
        "Which checkpoint becomes the model: the last one, or the one with the lowest held-out "
        "loss, which needs validation_steps.",
    )
    validation_steps: int = parameter(
        0,
        "Measure the held-out loss each time this many optimizer steps are done, and at the end; "
        "0 does not.",
        ge=0,
    )
    validation_rows: int = parameter(
        128, "Held-out rows that it is measured on: the first of the held-out side.", ge=1
    )
    data_output_dir: str | None = parameter(
        None,
        "Folder of the tokenized rows. Only the default is taken: they lie in the run's own "
        "folder, and nothing else reads them.",
        seed=("training_data_output_dir",),
    )

    @model_validator(mode="after")
    def _best_is_measured(self) -> Any:
        if self.checkpoint_choice == "best" and not self.validation_steps:
            raise ValueError(
                "checkpoint_choice: best needs a held-out loss to choose by: set validation_steps"
            )
        return self
