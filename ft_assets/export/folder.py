"""The exported folder: what ``upload_folder`` and ``from_pretrained`` take, and where it is from.

Layout: the model's files at the top (``adapter/`` below, where there is one), ``README.md`` (the
card), ``LICENSE`` if one was given, and ``provenance/`` with the model's manifest, the attestations
of what stands behind it, the results and the verdict.

Belongs here: writing the folder whole or not at all. What is in no exported folder: rows of the
data, and answers to them. So the evaluation's manifest, which quotes the worst ones, stays behind.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ft_assets.cards import CARD_FILE
from ft_assets.export.masked import masked
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from ft_assets.export.subject import Subject
    from resources.store import Artifact, ArtifactStore
    from resources.store.manifest import ManifestFile

MODEL_PREFIX = "model/"
PROVENANCE = "provenance"
_REPORT = "eval_report"
_OF_THE_REPORT = ("results.json", "verdict.json")
_SIGNATURES = (".sig", ".sigstore", ".intoto.json", ".intoto.jsonl")
_CHUNK = 1 << 20
_SLACK = 16 << 20  # bytes for the card and the manifests


def refuse_used(target: Path) -> None:
    """Refuse a target that is there and not an empty folder.

    Raises:
        UserError: that is so, or the folder that it would lie in is missing.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"{target} is no folder: name one that does not exist yet")
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty: name a folder that does not exist yet")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} does not exist: create it first")


@contextmanager
def written_beside(target: Path, expected: int) -> Generator[Path]:
    """A private folder beside ``target`` that becomes it when the block ends without exception.

    Args:
        target: as :func:`refuse_used` lets pass.
        expected: bytes that it will take.

    Raises:
        UserError: the disk has not that much room, cannot be written, or ``target`` was filled by
            somebody else meanwhile.
    """
    free = shutil.disk_usage(target.parent).free
    if free < expected + _SLACK:
        raise UserError(
            f"{target.parent} has {free / 1e6:,.1f} MB free and the export takes about "
            f"{(expected + _SLACK) / 1e6:,.1f} MB: free space or name another place"
        )
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir()
        yield partial
        partial.rename(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {_remedy(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def model_files(model: Artifact) -> dict[str, ManifestFile]:
    """The files of the model by their names in the exported folder.

    A card that a library wrote gives way to ours and is kept beside the provenance.
    """
    named = {
        file.path.removeprefix(MODEL_PREFIX): file
        for file in model.manifest.files
        if file.path.startswith(MODEL_PREFIX)
    }
    if CARD_FILE in named:
        named[f"{PROVENANCE}/library-{CARD_FILE}"] = named.pop(CARD_FILE)
    return named


def write_model(model: Artifact, folder: Path, *, link: bool) -> None:
    """Copy (or hard link) the model's files, checking each against the manifest.

    Raises:
        UserError: a file is not what was published, or cannot be linked.
    """
    for name, file in model_files(model).items():
        _place(model, file, folder / name, link=link)


def write_provenance(
    store: ArtifactStore, subject: Subject, folder: Path, license_file: Path | None
) -> None:
    """Manifest, attestations, results, verdict and signatures; and the licence."""
    place = folder / PROVENANCE
    place.mkdir(exist_ok=True)
    for artifact in (subject.model, subject.report, subject.registration):
        if artifact is not None:
            _write_manifest(store, artifact, place)
            for file in artifact.manifest.files:
                if _travels(artifact, file.path):
                    with replaced(place / _flat(file.path)) as beside:
                        _place(artifact, file, beside, link=False)
    if license_file is not None:
        with replaced(folder / "LICENSE") as beside:
            shutil.copyfile(license_file, beside)


def _write_manifest(store: ArtifactStore, artifact: Artifact, place: Path) -> None:
    """The manifest as it is kept, with the attestation in it; of an evaluation that one alone.

    Values of environment variables are masked, see ``masked.py``.
    """
    name = artifact.key[-1]
    if name != _REPORT:
        kept = store.backend.read_manifest(artifact.key, artifact.partition, artifact.digest)
        assert kept is not None
        with replaced(place / f"{name}.manifest.json") as beside:
            beside.write_bytes(masked(kept))
    elif artifact.manifest.attestation is not None:
        content = json.dumps(artifact.manifest.attestation, indent=1, sort_keys=True)
        with replaced(place / f"{name}.attestation.json") as beside:
            beside.write_text(content)


@contextmanager
def replaced(target: Path) -> Generator[Path]:
    """A file beside ``target`` that takes its place when the block ends without exception.

    So nothing is ever written into a file that is there: it may be a hard link to what is
    published.
    """
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def bytes_needed(model: Artifact, *, link: bool, copies: int = 1) -> int:
    """What the model's files will take on the disk."""
    size = sum(file.size for file in model_files(model).values())
    return size * (copies - 1 if link else copies)


def listing(folder: Path) -> Mapping[str, int]:
    """All files below a folder with their sizes."""
    files: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _travels(artifact: Artifact, path: str) -> bool:
    if path.startswith(MODEL_PREFIX):
        return False
    of_the_report = artifact.key[-1] == _REPORT and path in _OF_THE_REPORT
    return of_the_report or path == "registration.json" or path.endswith(_SIGNATURES)


def _flat(path: str) -> str:
    return path.replace("/", "-")


def _place(artifact: Artifact, file: ManifestFile, target: Path, *, link: bool) -> None:
    source = artifact.path / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        raise _damaged(artifact, file)
    if link:
        try:
            os.link(source, target)
        except OSError as error:
            raise UserError(
                f"cannot link {source} to {target.parent} ({error.strerror}): leave --link out"
            ) from error
    if _sha256(source, None if link else target) != file.sha256:
        raise _damaged(artifact, file)


def _sha256(source: Path, copy: Path | None) -> str:
    """Of the bytes that are read, which are those that are copied."""
    digest = hashlib.sha256()
    if copy is None:
        with source.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    with source.open("rb") as stream, copy.open("wb") as out:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def _damaged(artifact: Artifact, file: ManifestFile) -> UserError:
    return UserError(
        f"{'/'.join(artifact.key)}: {file.path} is not what was published: materialize the asset "
        "again, or bring the file back from a backup; nothing was exported"
    )


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return "somebody else has filled it meanwhile; name another folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free space or name another place"
    return f"{error.strerror or error}; name another place"
