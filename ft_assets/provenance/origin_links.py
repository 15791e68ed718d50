"""What an artifact was made from outside the store: source files, base model, code, configuration.

Belongs here: comparing what a manifest recorded with what is there now, offline. What is not there
any more is said to be unchecked, never passed over.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ft_assets.provenance.code import this_code
from ft_assets.provenance.digest import value_digest
from ft_assets.provenance.own_tasks import tasks_digest
from ft_assets.training.base_model import BaseModelRef, is_used_in_place, locate
from resources.errors import UserError
from resources.sources.uri import PackageUri, PathUri, PvcUri, parse_uri

if TYPE_CHECKING:
    from ft_assets.provenance.artifact_links import Checked
    from ft_assets.provenance.links import Findings
    from ft_assets.provenance.recorded import (
        RecordedCode,
        RecordedMaking,
        RecordedSource,
        RecordedTasks,
    )
    from resources.sources import Sources


def check_origin(
    checked: Checked,
    findings: Findings,
    *,
    sources: Sources,
    folder: Path | None,
    spec_digest: str | None,
) -> None:
    """Check all that an artifact was made from outside the store.

    Args:
        checked: the artifact.
        findings: are extended.
        sources: reads local source files.
        folder: of the pipeline's file, which relative paths start from; None when it is gone.
        spec_digest: of the pipeline as its file has it now; None when it is gone.
    """
    origin = checked.recorded
    if origin.making is not None:
        _configuration(checked, origin.making, findings, spec_digest)
        _code(checked, origin.making.code, findings)
    if origin.base_model is not None:
        _base_model(origin.base_model, findings)
    for source in origin.sources:
        _source(checked, source, findings, sources, folder)
    if origin.own_tasks is not None:
        _own_tasks(checked, origin.own_tasks, findings, folder)


def _configuration(
    checked: Checked, making: RecordedMaking, findings: Findings, spec_digest: str | None
) -> None:
    """The recorded parameters are those that were recorded; whether they still are the file's."""
    if not making.config_digest:
        findings.not_checked(checked.name, "configuration", "its digest was not recorded then")
        return
    same = findings.compare(
        checked.name,
        "configuration",
        "the recorded parameters have the recorded digest",
        file=checked.file,
        expected=making.config_digest,
        found=value_digest(making.config),
    )
    if not same:
        return
    if spec_digest is None:
        findings.not_checked(checked.name, "pipeline file", "there is no such pipeline here")
    elif making.spec_digest == spec_digest:
        findings.holds(checked.name, "pipeline file", "it says what it said when this was made")
    else:
        findings.not_checked(
            checked.name,
            "pipeline file",
            "it was changed since, or the run had parameters of its own; the recorded ones count",
        )


def _code(checked: Checked, code: RecordedCode, findings: Findings) -> None:
    if not code.digest:
        findings.not_checked(checked.name, "code", "its digest was not recorded then")
    elif code.digest == this_code().digest:
        findings.holds(checked.name, "code", "it was made by the code that is installed here")
    else:
        commit = f", commit {code.commit[:12]}" if code.commit else ""
        findings.not_checked(
            checked.name,
            "code",
            f"it was made by other code than is here ({code.digest[:12]}{commit})",
        )


def _base_model(ref: BaseModelRef, findings: Findings) -> None:
    """The base model's files have the digest that the model was trained from."""
    subject, check = f"base model {ref.name}", "base model"
    if ref.kind == "hub":
        findings.not_checked(
            subject, check, f"it is on a hub: {ref.location} at commit {ref.revision}"
        )
        return
    if not Path(ref.location).exists():
        findings.not_checked(subject, check, f"{ref.location} is not on this machine")
        return
    try:
        found = locate(
            ref.location if ref.kind == "folder" else ref.name,
            folder=Path(ref.location).parent,
            models=Path(ref.location).parent,  # prepared ones are asked for of a hub's alone
            chat_template=ref.chat_template,
            hf_token_env=ref.hf_token_env,
            special_tokens=ref.special_tokens,
        )
    except UserError as error:
        findings.broken(subject, check, str(error), file=ref.location, expected=ref.digest)
        return
    findings.compare(
        subject,
        check,
        "its files have the digest that the model was trained from",
        file=found.location,
        expected=ref.digest,
        found=found.digest,
    )
    if not is_used_in_place(ref):
        findings.not_checked(
            subject, check, "the folder that was made of it for training is kept without a digest"
        )


def _source(
    checked: Checked,
    source: RecordedSource,
    findings: Findings,
    sources: Sources,
    folder: Path | None,
) -> None:
    """The source's files have the bytes that were read; read again only where they are local."""
    uri = source.uri
    subject, check = f"source {uri}", "source files"
    parsed = parse_uri(uri)
    if not isinstance(parsed, PathUri | PvcUri | PackageUri):
        findings.not_checked(subject, check, "it is not on this machine, and nothing is fetched")
        return
    if isinstance(parsed, PathUri) and folder is None and not Path(parsed.path).is_absolute():
        findings.not_checked(
            subject, check, f"there is no pipeline {checked.place.key[0]} that tells where it is"
        )
        return
    try:
        with tempfile.TemporaryDirectory() as scratch:
            fetched = sources.fetch(uri, Path(scratch), base_dir=folder)
    except UserError as error:
        findings.not_checked(subject, check, f"it cannot be read any more: {error}")
        return
    now = {file.name: (file.sha256, file.path) for file in fetched.files}
    whole = True
    for file in source.files:
        sha256, path = now.get(file.name, (None, uri))
        if sha256 is None:
            whole = False
            findings.not_checked(subject, check, f"{file.name} is not there any more")
        elif sha256 != file.sha256:
            whole = False
            findings.broken(
                subject,
                check,
                f"{file.name} is not the file that was read",
                file=str(path),
                expected=file.sha256,
                found=sha256,
            )
    if whole:
        findings.holds(subject, check, f"{len(source.files)} files, as they were read")


def _own_tasks(
    checked: Checked, tasks: RecordedTasks, findings: Findings, folder: Path | None
) -> None:
    """The pipeline's own tasks are those that the models were asked."""
    subject, check = f"tasks {tasks.folder}", "own tasks"
    found = None if folder is None else (folder / tasks.folder).resolve()
    if found is None:
        why = f"there is no pipeline {checked.place.key[0]} that tells where they are"
        findings.not_checked(subject, check, why)
    elif not found.is_dir():
        findings.not_checked(subject, check, f"{found} is not there any more")
    else:
        findings.compare(
            subject,
            check,
            "its files are those that the models were asked",
            file=str(found),
            expected=tasks.digest,
            found=tasks_digest(found),
        )
