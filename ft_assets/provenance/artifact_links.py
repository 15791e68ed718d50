"""One artifact against itself: manifest, statement, signatures, files, data version.

Belongs here: what an artifact proves alone. Does not belong here: what it was made from
(``origin_links.py``, ``verify.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError
from pydantic_core import from_json

from ft_assets.provenance import envelope
from ft_assets.provenance.content import content_digest
from ft_assets.provenance.differences import first_difference
from ft_assets.provenance.model_signature import (
    SIGNATURE_FILE,
    BadModelSignatureError,
    verify_model,
)
from ft_assets.provenance.recorded import Recorded, recorded
from ft_assets.provenance.statement import artifact_name, statement_of
from resources.errors import UserError
from resources.store.manifest import Manifest, decode_manifest, encode_json

if TYPE_CHECKING:
    from ft_assets.provenance.keys import VerifyKey
    from ft_assets.provenance.links import Findings
    from resources.store.resource import Store


@dataclass(frozen=True)
class Place:
    """Where an artifact is: enough to find it in a store."""

    key: tuple[str, ...]
    partition: str | None
    digest: str

    @property
    def name(self) -> str:
        """``PIPELINE/ASSET@PARTITION``."""
        return artifact_name(self.key, self.partition)


@dataclass(frozen=True)
class Checked:
    """An artifact whose manifest could be read, and is what was stated."""

    place: Place
    manifest: Manifest
    raw: Mapping[str, Any]
    """The manifest's JSON, as it was written by whatever release."""
    file: str
    """Where the manifest is."""
    recorded: Recorded
    """What the manifest says about where it comes from."""

    @property
    def name(self) -> str:
        """``PIPELINE/ASSET@PARTITION``."""
        return self.place.name


def check_artifact(
    place: Place, store: Store, key: VerifyKey | None, findings: Findings
) -> Checked | None:
    """Check all that an artifact holds; None when its manifest is no use for going on."""
    checked = _manifest(place, store, findings)
    if checked is None or not _statement(checked, key, findings):
        return None
    whole = _files(checked, store, findings)
    _data_version(checked, findings)
    if whole:
        _model_signature(checked, store, key, findings)
    return checked


def _manifest(place: Place, store: Store, findings: Findings) -> Checked | None:
    file = place.name  # until it is known where it is
    try:
        file = store.manifest_place(place.key, place.partition, place.digest)
        checked = _read(place, file, store.read_manifest(place.key, place.partition, place.digest))
    except UserError as error:
        findings.broken(place.name, "manifest", str(error), file=file, expected=place.digest)
        return None
    findings.holds(
        place.name,
        "manifest",
        f"its {len(checked.manifest.files)} files add up to the digest",
    )
    return checked


def _read(place: Place, file: str, content: bytes | None) -> Checked:
    """The manifest that was published for this artifact.

    Raises:
        UserError: it is gone, damaged, or another's.
    """
    if content is None:
        raise UserError("the artifact is gone")
    manifest = decode_manifest(content, file)
    found = Place(manifest.key, manifest.partition, manifest.digest)
    if found != place:
        raise UserError(f"the manifest is that of another artifact, {found.name} {found.digest}")
    raw = cast("dict[str, Any]", from_json(content))
    strange = [name for name in raw if name not in Manifest.model_fields]
    if raw.get("attestation") is None:
        if strange:
            raise UserError(f"the manifest has a field that none has: {strange[0]!r}")
    elif encode_json(raw) != content:
        raise UserError("the manifest is not written as it was published")
    try:
        return Checked(place, manifest, raw, file, recorded(raw))
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"the manifest's record of origin is damaged ({field})") from error


def _statement(checked: Checked, key: VerifyKey | None, findings: Findings) -> bool:
    """The statement is about this manifest, and signed where a key is at hand.

    Returns:
        whether the manifest may be believed: nothing contradicts it.
    """
    sealed = checked.raw.get("attestation")
    if sealed is None:
        if key is not None:
            findings.broken(
                checked.name,
                "statement",
                "the artifact carries no statement, so that nobody has signed it",
                file=checked.file,
                expected=f"a statement signed by {key.path}",
                found="none",
            )
            return False
        findings.not_checked(
            checked.name,
            "statement",
            "it carries none: it was made by a release without, or not by a pipeline",
        )
        return True
    try:
        stated = envelope.statement_in(sealed)
        derived = statement_of(checked.raw)
    except (envelope.BadEnvelopeError, KeyError, TypeError) as error:
        findings.broken(checked.name, "statement", _said(error), file=checked.file)
        return False
    difference = first_difference(stated, derived)
    if difference is not None:
        where, expected, found = difference
        findings.broken(
            checked.name,
            "statement",
            f"the manifest is not what was stated when it was made: {where}",
            file=checked.file,
            expected=expected,
            found=found,
        )
        return False
    findings.holds(checked.name, "statement", "it states what the manifest says")
    return _signature(checked, sealed, key, findings)


def _signature(
    checked: Checked, sealed: Mapping[str, Any], key: VerifyKey | None, findings: Findings
) -> bool:
    signed = envelope.is_signed(sealed)
    if key is None:
        why = "no FT_VERIFY_KEY is given" if signed else "it is not signed: no key was configured"
        findings.not_checked(checked.name, "signature", why)
        return True
    if not signed:
        findings.broken(
            checked.name,
            "signature",
            "the statement is not signed",
            file=checked.file,
            expected=f"a signature by {key.path}",
            found="none",
        )
        return False
    try:
        envelope.verify(sealed, key)
    except envelope.BadEnvelopeError as error:
        findings.broken(checked.name, "signature", str(error), file=checked.file)
        return False
    findings.holds(checked.name, "signature", f"signed by {key.path}")
    return True


def _files(checked: Checked, store: Store, findings: Findings) -> bool:
    """Every file has the bytes that were published, and there is no other."""
    whole = True
    folder = str(PurePosixPath(checked.file).parent) if "://" not in checked.file else ""
    base = f"{folder or checked.file.rpartition('/')[0]}/files"
    for file in checked.manifest.files:
        found = store.sha256(checked.manifest, file.path)
        if found != file.sha256:
            whole = False
            findings.broken(
                checked.name,
                "file",
                f"{file.path} is {'missing' if found is None else 'not what was published'}",
                file=f"{base}/{file.path}",
                expected=file.sha256,
                found=found or "missing",
            )
    for name in _unknown(checked, store, findings, base):
        whole = False
        findings.broken(
            checked.name,
            "file",
            f"{name} was added after the artifact was published",
            file=f"{base}/{name}",
            expected="no such file",
            found=name,
        )
    if whole:
        findings.holds(
            checked.name,
            "files",
            f"{len(checked.manifest.files)} files, {checked.manifest.size:,} bytes, as published",
        )
    return whole


def _unknown(checked: Checked, store: Store, findings: Findings, base: str) -> list[str]:
    try:
        return store.unknown_files(checked.manifest)
    except UserError as error:  # a link or a device, which no artifact holds
        findings.broken(checked.name, "file", str(error), file=base)
        return []


def _data_version(checked: Checked, findings: Findings) -> None:
    """The data version is what these files give."""
    if checked.manifest.data_version == checked.manifest.digest:
        findings.holds(checked.name, "data version", "it is the digest")
        return
    expected = content_digest({file.path: file.sha256 for file in checked.manifest.files})
    if expected is None:
        findings.not_checked(
            checked.name, "data version", "it is not a digest of files; the statement names it"
        )
        return
    findings.compare(
        checked.name,
        "data version",
        "it is the digest of the content",
        file=checked.file,
        expected=expected,
        found=checked.manifest.data_version,
    )


def _model_signature(
    checked: Checked, store: Store, key: VerifyKey | None, findings: Findings
) -> None:
    names = {file.path for file in checked.manifest.files}
    if SIGNATURE_FILE not in names:
        return  # the signed statement names every file of the model
    if key is None:
        findings.not_checked(checked.name, "model signature", "no FT_VERIFY_KEY is given")
        return
    artifact = store.find_version(checked.place.key, checked.place.partition, checked.place.digest)
    assert artifact is not None  # its manifest was read
    folder: Path = artifact.path
    try:
        verify_model(folder, key)
    except BadModelSignatureError as error:
        findings.broken(
            checked.name, "model signature", str(error), file=str(folder / SIGNATURE_FILE)
        )
        return
    findings.holds(checked.name, "model signature", f"the model is signed by {key.path}")


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the manifest's provenance lacks {error}"
    return str(error)
