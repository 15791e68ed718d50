"""Folders that are whole or do not count, and which checkpoint a run goes on from.

A checkpoint is written under ``partial/`` and moved to its place by one rename. Its manifest, the
last file written, holds the run's fingerprint and every file's length and sha256: what does not
agree with it is never loaded. What the files hold is decided by ``resumable.py`` and ``best.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from ft_assets.training.file_records import FileRecord, changed_file, record_files
from resources.launcher.child import Reporter
from resources.record import Record

MANIFEST = "manifest.json"
PARTIAL = "partial"
"""Folder of what is being written, in the run folder."""

_KEPT = 2
"""Whole checkpoints that are kept: when the newest turns out damaged, there is the one before."""

_SHORT = 12


class CheckpointManifest(Record):
    """What a checkpoint is and which files it has."""

    step: int
    """Optimizer steps that were done."""
    fingerprint: str
    """Of the run: another run never goes on from it."""
    full: bool
    """Whether it holds the optimizer, the schedule and the random numbers too."""
    held_out_loss: float | None
    """The best one measured up to this step; None where none was."""
    files: dict[str, FileRecord]


@contextmanager
def writing(
    folder: Path, *, step: int, fingerprint: str, full: bool, held_out_loss: float | None = None
) -> Generator[Path]:
    """Yield the folder to write into, which becomes ``folder`` when the block ends well.

    Args:
        folder: where it will be; what is there already is replaced.
        step: see :class:`CheckpointManifest`, as the others.
        fingerprint: of the run.
        full: whether a run can go on from it.
        held_out_loss: the best so far, in nats per token.
    """
    partial = folder.parent / PARTIAL / folder.name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        manifest = CheckpointManifest(
            step=step,
            fingerprint=fingerprint,
            full=full,
            held_out_loss=held_out_loss,
            files=record_files(partial),
        )
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(folder.parent / PARTIAL, ignore_errors=True)


def read_manifest(folder: Path) -> CheckpointManifest | None:
    """The manifest, or None where there is none that can be read."""
    try:
        return CheckpointManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def flaw(folder: Path, fingerprint: str) -> str | None:
    """Why this run cannot use a checkpoint, in words; None when it can. Reads all of it."""
    manifest = read_manifest(folder)
    if manifest is None:
        return "its manifest is missing or damaged"
    if manifest.fingerprint != fingerprint:
        return (
            f"it is another run's (fingerprint {manifest.fingerprint[:_SHORT]}, this run's is "
            f"{fingerprint[:_SHORT]})"
        )
    return changed_file(folder, manifest.files)


def last_checkpoint(
    run_dir: Path, fingerprint: str, report: Reporter, *, best_loss: float | None = None
) -> Path | None:
    """The newest checkpoint that this run can go on from; one that it cannot use is reported.

    Args:
        run_dir: the run's folder.
        fingerprint: of the run.
        report: told of each checkpoint that is passed over, and of the one that is used; each is
            a phase of its own, of which none is left out of the event log.
        best_loss: of the best weights that are kept and whole, where there are any. A checkpoint
            that knows a better one would end in another model.
    """
    shutil.rmtree(run_dir / PARTIAL, ignore_errors=True)
    passed_over = False
    for folder in reversed(checkpoints(run_dir)):
        manifest = read_manifest(folder)
        if manifest is not None and not manifest.full:
            continue  # weights alone, on request: no place to go on from
        reason = flaw(folder, fingerprint)
        if reason is None and manifest is not None and _lost(manifest.held_out_loss, best_loss):
            reason = "the weights with the best held-out loss before it are lost or damaged"
        if reason is None:
            report("resume", _step(folder), 0, checkpoint=folder.name)
            return folder
        report(f"not used: {folder.name}", 0, 0, because=reason)
        passed_over = True
    if passed_over:
        report("resume", 0, 0, checkpoint="none: training begins at the start")
    return None


def checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoints in a run folder, by step."""
    found = [path for path in run_dir.glob("checkpoint-*") if path.name[11:].isdigit()]
    return sorted(found, key=_step)


def checkpoints_after(run_dir: Path, begins_from: Path | None) -> list[Path]:
    """The checkpoints from after the step that a run begins from: it has passed them over."""
    begin = 0 if begins_from is None else _step(begins_from)
    return [folder for folder in checkpoints(run_dir) if _step(folder) > begin]


def keep_newest(run_dir: Path, written: Path, passed_over: Collection[Path] = ()) -> list[Path]:
    """Delete all but the newest two to go on from, or the newest one of weights alone.

    Args:
        run_dir: the run's folder.
        written: the one that is whole since just now; it is among those that stay.
        passed_over: what this run did not begin from. It is no newer than what it writes, whatever
            its step, and goes when there is a new one of its kind; not before, since what could not
            be read may have been out of reach for a moment.

    Returns:
        those of ``passed_over`` that are still there.
    """
    over = [folder for folder in passed_over if folder != written]  # that one was replaced
    alike = [folder for folder in checkpoints(run_dir) if _is_full(folder) == _is_full(written)]
    counted = [folder for folder in alike if folder not in over]
    replaced = [folder for folder in alike if folder in over]
    for folder in [*replaced, *counted[: -_KEPT if _is_full(written) else -1]]:
        shutil.rmtree(folder)
    return [folder for folder in over if folder not in replaced]


def _is_full(folder: Path) -> bool:
    """Whether it is one to go on from; a damaged one is held to be."""
    manifest = read_manifest(folder)
    return manifest is None or manifest.full


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _lost(known: float | None, kept: float | None) -> bool:
    return known is not None and (kept is None or kept > known)
