"""training_hub's backend ``cpu`` for ``sft``, ``osft`` and ``lora_sft``, and ``peft`` for the last.

It does in this process what the GPU backends do: on the CPU, or on one GPU (``peft``); on the CPU
others like it may take part (``world.py``). It takes the arguments of training_hub's functions and
is reached through them, as every other backend is.
"""

from __future__ import annotations

# torch, transformers and training_hub have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
import math
import os
import resource
from pathlib import Path
from typing import Any

import torch
import training_hub
from training_hub import AlgorithmRegistry, Backend
from transformers import AutoTokenizer, PrinterCallback, set_seed
from transformers.utils.logging import disable_progress_bar

from ft_assets.training.failures import explain
from ft_assets.training.health import Planned
from ft_assets.training.in_process import trackers
from ft_assets.training.in_process.best import Best, BestCallback, best_so_far, load_best
from ft_assets.training.in_process.call import call_of
from ft_assets.training.in_process.checkpoints import checkpoints_after, last_checkpoint
from ft_assets.training.in_process.disk_space import full_disk_refused
from ft_assets.training.in_process.held_out import HeldOutCallback
from ft_assets.training.in_process.interruption import Interruption
from ft_assets.training.in_process.live import MetricsCallback
from ft_assets.training.in_process.methods import METHODS
from ft_assets.training.in_process.profiler import ProfilerCallback
from ft_assets.training.in_process.resumable import CheckpointCallback, ResumableTrainer
from ft_assets.training.in_process.row_attention import keeps_rows_apart
from ft_assets.training.in_process.saving import save_model
from ft_assets.training.in_process.settings import Settings
from ft_assets.training.in_process.token_folder import held_out_rows, token_counts
from ft_assets.training.in_process.tokens import TokenFile
from ft_assets.training.in_process.trainer_arguments import trainer_arguments
from ft_assets.training.in_process.vocabulary import keep_vocabulary_gradients
from ft_assets.training.in_process.world import ALONE, World
from ft_assets.training.metrics import METRICS_FILE
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from ft_assets.training.profile_window import ProfileWindow
from ft_assets.training.token_rows import TokenCounts
from resources.errors import UserError
from resources.freed_memory import ALL, give_back_freed_memory, keep_freed_memory
from resources.launcher.child import Reporter


def train_in_process(
    plan: TrainPlan, base: Path, run_dir: Path, report: Reporter, world: World = ALONE
) -> TrainOutcome | None:
    """Train through training_hub's function of the algorithm and return the verified outcome.

    Returns:
        None in every process but the first: that one writes and verifies.
    """
    for algorithm, backend in _BACKENDS.items():
        AlgorithmRegistry.register_backend(algorithm, "cpu", backend)
    AlgorithmRegistry.register_backend("lora_sft", "peft", InProcessLora)
    train = getattr(training_hub, plan.algorithm)
    try:
        outcome: TrainOutcome | None = train(
            backend=plan.backend,
            world=world,
            **call_of(plan, base, run_dir, report),
        )
    except (RuntimeError, ImportError, ValueError) as error:
        out_of_memory = isinstance(error, torch.OutOfMemoryError)
        said = f"CUDA out of memory: {error}" if out_of_memory else str(error)
        known = explain(said, remedies=plan.memory_remedies)
        if known is None or known.again:
            raise
        raise UserError(known.message) from error
    return outcome


class InProcessSft(Backend):
    """Training in this process; the subclasses name the algorithm, which training_hub does not."""

    algorithm = "sft"

    def execute_training(self, algorithm_params: dict[str, Any]) -> TrainOutcome | None:
        """Train and return the outcome, in the first process.

        Raises:
            TypeError: an argument that this backend does not have: none is ignored.
        """
        settings = Settings.of(self.algorithm, algorithm_params)
        torch.set_num_threads(settings.machine["threads"])
        if settings.device == "cpu":
            keep_freed_memory(ALL)
        disable_progress_bar()
        set_seed(settings.seed)
        interruption = Interruption(settings.report, settings.world)
        with full_disk_refused(settings.run_dir), interruption.listening():
            return _train(settings, interruption)


class InProcessOsft(InProcessSft):
    """``osft``."""

    algorithm = "osft"


class InProcessLora(InProcessSft):
    """``lora_sft``."""

    algorithm = "lora_sft"


_BACKENDS = {"sft": InProcessSft, "osft": InProcessOsft, "lora_sft": InProcessLora}


def _train(settings: Settings, interruption: Interruption) -> TrainOutcome | None:
    run_dir, world = settings.run_dir, settings.world
    tokenizer = AutoTokenizer.from_pretrained(settings.model_path, local_files_only=True)
    counts = token_counts(settings, tokenizer)
    method = METHODS[settings.algorithm](settings)
    model = method.load()
    world.copy_from_first([*model.parameters(), *model.buffers()])
    if settings.device == "cpu":
        keep_vocabulary_gradients(model)
    packed = _packs(settings, model, len(tokenizer))
    held_out = HeldOutCallback(held_out_rows(settings, tokenizer), settings.validation_steps)
    metrics = MetricsCallback(
        run_dir / METRICS_FILE,
        settings.report,
        planned=Planned(lr_scheduler=settings.lr_scheduler, warmup_steps=settings.warmup_steps),
        on_unhealthy=settings.on_unhealthy,
        held_out_losses=held_out.losses,
    )
    profilers = _profiler(settings) if world.first else []
    os.environ.update(trackers.environment(settings))
    writers = [metrics] if world.first else []
    checkpoints = CheckpointCallback(settings.checkpoint_at_epoch, settings.save_samples)
    trainer = ResumableTrainer(
        settings=settings,
        interruption=interruption,
        model=model,
        args=trainer_arguments(settings),
        train_dataset=TokenFile(run_dir / "tokens"),
        optimizers=(method.optimizer(model), None),
        callbacks=[
            *writers,
            held_out,
            checkpoints,
            interruption,
            *profilers,  # last: what they write is no part of the step's time
        ],
        max_tokens=settings.max_tokens_per_gpu,
        max_rows=settings.micro_batch_size or None,
        packed=packed,
        world=world,
    )
    trainer.remove_callback(PrinterCallback)  # the metrics callback reports
    metrics.trainer = held_out.trainer = trainer
    trainer.held_out_losses = held_out.losses
    try:
        best = _train_on(trainer, settings)
    finally:
        for profiler in profilers:
            profiler.close()
    if interruption.stopped_at is not None or not world.first:
        world.barrier()  # the first process has written all there is to write
    interruption.raise_if_stopped(int(trainer.state.max_steps))
    if not world.first:
        return None

    last_step = int(trainer.state.global_step)
    optimizer: Any = trainer.optimizer
    optimizer.state.clear()  # the moments: nobody needs them now, and saving takes memory too
    give_back_freed_memory()
    folder = save_model(
        method,
        model,
        tokenizer,
        run_dir,
        samples=_samples(settings, counts, best.step if best else last_step),
        choice=settings.checkpoint_choice,
        held_out_loss=best.loss if best else trainer.held_out_losses.get(last_step),
    )
    world.barrier()
    return _outcome(settings, counts, trainer, metrics, folder, packed=packed)


def _train_on(trainer: ResumableTrainer, settings: Settings) -> Best | None:
    """Train from the last whole checkpoint, or the start, to the end.

    Returns:
        the best weights, which are the model's now, when they are asked for; else None.
    """
    run_dir, fingerprint = settings.run_dir, settings.fingerprint
    keeper: BestCallback | None = None
    if settings.checkpoint_choice == "best" and settings.world.first:
        keeper = BestCallback(trainer, best_so_far(run_dir, fingerprint, settings.report))
        trainer.add_callback(keeper)  # after the one that measures
    checkpoint = _resumes_from(trainer, settings)
    trainer.train(resume_from_checkpoint=str(run_dir / checkpoint) if checkpoint else None)
    if keeper is None or trainer.interruption.stopped_at is not None:
        return None
    return load_best(keeper.best, trainer.model, settings)


def _resumes_from(trainer: ResumableTrainer, settings: Settings) -> str:
    """The name of the checkpoint that all processes go on from; empty for the start."""
    if not settings.world.first:
        return settings.world.text("")
    checkpoint = last_checkpoint(
        settings.run_dir, settings.fingerprint, settings.report, best_loss=trainer.best_loss
    )
    trainer.passed_over = checkpoints_after(settings.run_dir, checkpoint)
    return settings.world.text(checkpoint.name if checkpoint else "")


def _profiler(settings: Settings) -> list[ProfilerCallback]:
    if not settings.profiler_steps:
        return []
    window = ProfileWindow(settings.profiler_steps_start, settings.profiler_steps)
    return [ProfilerCallback(window, settings.run_dir)]


def _packs(settings: Settings, model: Any, vocabulary: int) -> bool:
    """Whether rows are laid end to end.

    Raises:
        UserError: packing is asked for and attention would cross from row to row.
    """
    if settings.sample_packing is False:
        return False
    isolated = keeps_rows_apart(model, vocabulary, settings.device)
    if settings.sample_packing and not isolated:
        raise UserError(
            f"training.sample_packing: true: this model's attention ({settings.attention}) crosses "
            "from row to row in a packed sequence: leave it out, or set false"
        )
    return isolated


def _samples(settings: Settings, counts: TokenCounts, steps: int) -> int:
    """Rows that were seen after so many steps; the last batch of an epoch may be smaller."""
    epochs, rest = divmod(steps, math.ceil(counts.rows / settings.effective_batch_size))
    return epochs * counts.rows + rest * settings.effective_batch_size


def _outcome(
    settings: Settings,
    counts: TokenCounts,
    trainer: ResumableTrainer,
    metrics: MetricsCallback,
    folder: Path,
    *,
    packed: bool,
) -> TrainOutcome:
    per_second = trainer.tokens_seen / metrics.seconds if metrics.seconds else 0.0
    return TrainOutcome(
        model_dir=str(folder.relative_to(settings.run_dir)),
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
            **({"processes": settings.world.size} if settings.world.size > 1 else {}),
            "torch": torch.__version__,
            "transformers": __import__("transformers").__version__,
        },
    )
