"""What transformers' Trainer is told of a run's settings, and what it is told to leave to us."""

from __future__ import annotations

from transformers import TrainingArguments

from ft_assets.training.in_process import trackers
from ft_assets.training.in_process.settings import Settings


def trainer_arguments(settings: Settings) -> TrainingArguments:
    """The Trainer's own arguments; the batch is one unit of its data loader."""
    arguments = TrainingArguments(
        output_dir=settings.ckpt_output_dir,
        per_device_train_batch_size=settings.effective_batch_size,
        num_train_epochs=settings.num_epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        lr_scheduler_type=settings.lr_scheduler,
        lr_scheduler_kwargs=settings.lr_scheduler_kwargs,
        optim=settings.optimizer,
        adam_beta1=settings.beta1,
        adam_beta2=settings.beta2,
        adam_epsilon=settings.eps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=settings.device == "cpu",
        bf16=settings.machine["precision"] == "bf16",
        save_strategy="no",  # CheckpointCallback says when
        save_only_model=not settings.save_full_state,
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to=trackers.report_to(settings) if settings.world.first else [],
        run_name=trackers.run_name(settings),
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        # Else the Trainer would spread over all GPUs, with a batch for each.
        arguments._n_gpu = 1  # pyright: ignore[reportPrivateUsage]
    return arguments
