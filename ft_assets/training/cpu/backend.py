"""training_hub's backend ``cpu`` for ``sft``: what the GPU backend does, on a laptop.

It takes the arguments of ``training_hub.sft`` and is reached through that function, as every
other backend is.
"""

from __future__ import annotations

# torch, transformers and training_hub have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from training_hub import AlgorithmRegistry, Backend, sft
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PrinterCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar

from ft_assets.training.cpu.callbacks import CheckpointCallback, MetricsCallback, last_checkpoint
from ft_assets.training.cpu.machine import decide
from ft_assets.training.cpu.tokens import TokenFile, tokenize
from ft_assets.training.cpu.trainer import RowTrainer, isolates_rows
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.outcome import TrainOutcome, verify_model
from ft_assets.training.plan import TrainPlan
from ft_assets.training.token_rows import TokenCounts
from resources.launcher.child import Reporter


def train_on_cpu(plan: TrainPlan, base: Path, run_dir: Path, report: Reporter) -> TrainOutcome:
    """Train through ``training_hub.sft(..., backend="cpu")`` and return the verified outcome."""
    AlgorithmRegistry.register_backend("sft", "cpu", CpuSftBackend)
    outcome: TrainOutcome = sft(
        model_path=str(base),
        data_path=plan.train_file,
        ckpt_output_dir=str(run_dir),
        backend="cpu",
        machine=decide(plan, run_dir),
        report=report,
        mask=plan.mask.model_dump(mode="json"),
        **plan.parameters,
    )
    return outcome


@dataclass(frozen=True)
class _Settings:
    """The arguments of one call of ``training_hub.sft``."""

    model_path: str
    data_path: str
    ckpt_output_dir: str
    num_epochs: int
    effective_batch_size: int
    learning_rate: float
    max_seq_len: int
    max_tokens_per_gpu: int
    warmup_steps: int
    lr_scheduler: str
    seed: int
    checkpoint_at_epoch: bool
    save_samples: int
    accelerate_full_state_at_epoch: bool
    precision: str
    threads: int
    mask: dict[str, Any]
    machine: dict[str, Any]
    report: Reporter
    callbacks: list[Any]
    """Always passed by training_hub; ours has none, since the Trainer's own do the work."""

    def __post_init__(self) -> None:
        if self.callbacks:
            raise TypeError("the cpu backend takes no training_hub callbacks")


class CpuSftBackend(Backend):
    """Supervised fine-tuning of all weights in one process on the CPU."""

    def execute_training(self, algorithm_params: dict[str, Any]) -> TrainOutcome:
        """Train and return the outcome.

        Raises:
            TypeError: an argument that this backend does not have: none is ignored.
        """
        settings = _Settings(**algorithm_params)
        run_dir = Path(settings.ckpt_output_dir)
        torch.set_num_threads(settings.machine["threads"])
        disable_progress_bar()
        set_seed(settings.seed)

        tokenizer = AutoTokenizer.from_pretrained(settings.model_path, local_files_only=True)
        counts = tokenize(
            Path(settings.data_path),
            run_dir / "tokens",
            tokenizer,
            settings.max_seq_len,
            MaskPolicy.model_validate(settings.mask),
            report=settings.report,
        )
        model = _load(settings.model_path)
        saved_dtype = model.config.dtype  # as published; trained in fp32
        model.float()
        packed = isolates_rows(model, len(tokenizer))

        metrics = MetricsCallback(run_dir / "metrics.jsonl", settings.report)
        trainer = RowTrainer(
            model=model,
            args=_arguments(settings),
            train_dataset=TokenFile(run_dir / "tokens"),
            callbacks=[
                metrics,
                CheckpointCallback(settings.checkpoint_at_epoch, settings.save_samples),
            ],
            max_tokens=settings.max_tokens_per_gpu,
            packed=packed,
        )
        trainer.remove_callback(PrinterCallback)  # the metrics callback reports
        metrics.trainer = trainer
        checkpoint = last_checkpoint(run_dir)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

        steps = int(trainer.state.global_step)
        samples = min(steps * settings.effective_batch_size, counts.rows * settings.num_epochs)
        folder = _save(
            model.to(saved_dtype), tokenizer, run_dir / "hf_format" / f"samples_{samples}"
        )
        verify_model(folder)
        return _outcome(settings, counts, trainer, metrics, folder, packed=packed)


def _load(path: str) -> Any:
    """The model with its published dtype in ``config.dtype`` and no code of its own."""
    return AutoModelForCausalLM.from_pretrained(
        path, dtype="auto", local_files_only=True, trust_remote_code=False, use_safetensors=True
    )


def _arguments(settings: _Settings) -> TrainingArguments:
    """instructlab-training's optimizer settings, and the batch as one unit of the data loader."""
    return TrainingArguments(
        output_dir=settings.ckpt_output_dir,
        per_device_train_batch_size=settings.effective_batch_size,
        num_train_epochs=settings.num_epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        lr_scheduler_type=settings.lr_scheduler,
        optim="adamw_torch_fused",
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=True,
        bf16=settings.machine["precision"] == "bf16",
        save_strategy="no",  # CheckpointCallback says when, and keeps the last one only
        save_only_model=not settings.accelerate_full_state_at_epoch,
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )


def _save(model: Any, tokenizer: Any, folder: Path) -> Path:
    """Write the model folder under another name and rename it when it is whole."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return folder


def _outcome(
    settings: _Settings,
    counts: TokenCounts,
    trainer: RowTrainer,
    metrics: MetricsCallback,
    folder: Path,
    *,
    packed: bool,
) -> TrainOutcome:
    run_dir = Path(settings.ckpt_output_dir)
    per_second = trainer.tokens_seen / metrics.seconds if metrics.seconds else 0.0
    return TrainOutcome(
        model_dir=str(folder.relative_to(run_dir)),
        base_model_dir=settings.model_path,
        steps=int(trainer.state.global_step),
        epochs=float(trainer.state.epoch or 0.0),
        rows=counts.rows,
        rows_too_long=counts.rows_too_long,
        rows_untrained=counts.rows_untrained,
        rows_cut=counts.rows_cut,
        tokens=counts.tokens * settings.num_epochs,
        trained_tokens=counts.trained_tokens * settings.num_epochs,
        train_seconds=metrics.seconds,
        tokens_per_second=per_second,
        first_loss=metrics.first_loss,
        last_loss=metrics.last_loss,
        peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        resumed_from_step=metrics.resumed_from,
        settings={
            **settings.machine,
            "packed": packed,
            "torch": torch.__version__,
            "transformers": __import__("transformers").__version__,
        },
    )
