"""What an artifact consists of: its manifest, and the digest that names it.

Belongs here: the manifest's format and hashing. Does not belong here: where artifacts are kept.
"""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import to_json

from resources.errors import UserError
from resources.record import Record
from resources.store.names import check_file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from resources.store.file_digests import FileDigests


class ManifestFile(Record):
    """One file of an artifact."""

    model_config = ConfigDict(extra="ignore")

    path: Annotated[str, AfterValidator(check_file_name)]
    """Relative to the artifact, with forward slashes."""
    size: int
    """Bytes."""
    sha256: str
    """What names the file's bytes, here and in everything that is stated about them."""
    blake3: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", exclude_if=lambda value: value is None
    )
    """What a download is compared with: as strong as sha256, and on x86 computed several times as
    fast. None in the manifests of older releases."""


class Manifest(Record):
    """Everything there is to know about an artifact without opening its files."""

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1] = 1
    key: tuple[str, ...]
    partition: str | None
    digest: str
    """Over the files' paths, sizes, sha256 and blake3: the same files have the same digest."""
    data_version: str
    """Dagster's data version; the digest, unless the producer chose another."""
    created_at: str
    """UTC, ISO 8601."""
    files: tuple[ManifestFile, ...]
    """Sorted by path."""
    metadata: dict[str, JsonValue]
    attestation: dict[str, JsonValue] | None = None
    """What the producer states about this manifest, perhaps signed. It lies in the manifest so that
    one act publishes both; no digest covers it."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def describe_files(
    folder: Path,
    digests: FileDigests,
    *,
    key: Sequence[str],
    partition: str | None,
    data_version: str | None,
    metadata: Mapping[str, JsonValue],
    attest: Callable[[Manifest], dict[str, JsonValue]] | None = None,
) -> Manifest:
    """Hash every file below ``folder``, as ``digests`` does, and write down what the artifact is.

    ``attest`` is given the manifest as it is going to be, and gives its attestation.

    Raises:
        UserError: there is no file, something is not a plain file, or a metadata value is NaN.
    """
    files = tuple(digests.of(path) for path in sorted(walk_files(folder)))
    if not files:
        raise UserError(f"artifact {'/'.join(key)} is empty: no file was written for it")
    digest = digest_of(files)
    manifest = Manifest(
        key=tuple(key),
        partition=partition,
        digest=digest,
        data_version=data_version or digest,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        files=files,
        metadata=dict(metadata),
    )
    if attest is None:
        return manifest
    require_finite(manifest)  # what is stated has to be what is written
    return manifest.model_copy(update={"attestation": attest(manifest)})


def attested_part(manifest: Mapping[str, JsonValue]) -> bytes:
    """The bytes that an attestation speaks of: the manifest's JSON without the attestation."""
    return encode_json({name: v for name, v in manifest.items() if name != "attestation"})


def encode_json(manifest: Mapping[str, JsonValue]) -> bytes:
    """A manifest's JSON, as ``encode_manifest`` writes it: the same bytes for the same content."""
    return to_json(manifest, indent=1)


def digest_of(files: Iterable[ManifestFile]) -> str:
    """The artifact's digest: sha256 over what is stated of each file, sorted by path.

    It covers what a download is compared with, so that other bytes never go by the same digest.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        stated = [file.path, str(file.size), file.sha256]
        if file.blake3 is not None:  # which older releases did not have
            stated.append(file.blake3)
        digest.update(("\0".join(stated) + "\n").encode())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """The sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def broken_files(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the files below ``folder`` that are missing or not what the manifest says."""
    return [
        file.path
        for file in manifest.files
        if not (folder / file.path).is_file() or sha256_of(folder / file.path) != file.sha256
    ]


def has_all_files(folder: Path, manifest: Manifest) -> bool:
    """Whether every file is there with its size. Cheap: nothing is read."""
    return not absent_files(folder, manifest)


def absent_files(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the files below ``folder`` that are not there with their size. Nothing is read."""
    return [
        file.path
        for file in manifest.files
        if not (folder / file.path).is_file() or (folder / file.path).stat().st_size != file.size
    ]


def walk_files(folder: Path) -> Iterator[str]:
    """Relative paths of the plain files below ``folder``, in no particular order.

    Raises:
        UserError: there is a link, a socket or a device: an artifact holds its own bytes.
        OSError: a folder cannot be read.
    """
    for parent, folders, names in os.walk(folder, onerror=_raise):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in [*links, *names]:
            path = Path(parent) / name
            if path.is_symlink() or not path.is_file():
                raise UserError(
                    f"{path.relative_to(folder)} is a link or not a plain file: an artifact holds "
                    "its own bytes, so copy what it points at"
                )
            yield _as_text(path.relative_to(folder))


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON.

    Raises:
        UserError: a metadata value is NaN or infinite, which JSON does not have.
    """
    require_finite(manifest)
    return manifest.model_dump_json(indent=1).encode()


def require_finite(manifest: Manifest) -> None:
    """Refuse metadata that JSON cannot hold.

    Raises:
        UserError: a value is NaN or infinite.
    """
    for name, value in manifest.metadata.items():
        if _has_nonfinite(value):
            raise UserError(
                f"artifact {'/'.join(manifest.key)}: metadata {name!r} holds NaN or infinity, "
                "which a manifest cannot keep"
            )


def decode_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in ``content``; ``where`` names it in messages.

    Raises:
        UserError: it is damaged, or of a newer release.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "content"
        raise UserError(
            f"manifest {where} cannot be read ({field}: {first['msg']}): materialize the asset "
            "again, or use the release that wrote it"
        ) from error
    if digest_of(manifest.files) != manifest.digest:
        raise UserError(
            f"manifest {where} is damaged (its files do not add up to its digest): materialize "
            "the asset again"
        )
    return manifest


def same_description(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests of the same files say the same, apart from when they were written."""
    return one.data_version == other.data_version and one.metadata == other.metadata


def _as_text(path: Path) -> str:
    name = path.as_posix()
    if any("\ud800" <= char <= "\udfff" for char in name):  # how Python shows undecodable bytes
        raise UserError(f"file name {name!r} is not UTF-8: rename it")
    return name


def _raise(error: OSError) -> None:
    raise error


def _has_nonfinite(value: JsonValue) -> bool:
    match value:
        case float():
            return value != value or value in (float("inf"), float("-inf"))  # noqa: PLR0124
        case dict():
            return any(_has_nonfinite(item) for item in value.values())
        case list():
            return any(_has_nonfinite(item) for item in value)
        case _:
            return False
