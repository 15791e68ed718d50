"""Looking at a hub for the commit that a dataset or a model stands at.

A commit is the version, and one that a URI names itself is not asked for.
"""

# huggingface_hub has no complete types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import re
from typing import Any

from resources.sources.drops import DropFiles, DropVersion
from resources.sources.hub import Asked, explained
from resources.sources.hub_files import show
from resources.sources.uri import HubUri, redact

TIMEOUT = 20.0
"""Seconds without an answer after which a look is given up: there will be another."""

_MODEL = re.compile(
    r"(?:hf://)?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?",
    re.ASCII,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def version(uri: HubUri, token_env: str) -> DropVersion | None:
    """The version of a dataset: its commit. Files and sizes are not asked for.

    Raises:
        UserError: no such dataset or revision, or no access.
        SourceUnavailableError: the hub does not answer.
    """
    commit = uri.revision
    if commit is None or not _COMMIT.fullmatch(commit):
        api = _api(token_env)
        asked = Asked("dataset", show(uri), commit, redact(str(api.endpoint)), token_env)
        with explained(asked):
            commit = str(
                api.dataset_info(uri.repo, revision=commit, timeout=TIMEOUT, expand=["sha"]).sha
            )
    found = DropFiles()
    found.add(0, "commit", commit)
    return found.version()


def model_revision(base_model: str, token_env: str) -> str | None:
    """The commit that a hub model's branch or tag points to; None for what cannot move.

    Raises:
        UserError: no such model or revision, or no access.
        SourceUnavailableError: the hub does not answer.
    """
    match = _MODEL.fullmatch(base_model)
    revision = match["revision"] if match else None
    if match is None or (revision is not None and _COMMIT.fullmatch(revision)):
        return None
    api = _api(token_env)
    asked = Asked("model", base_model, revision, redact(str(api.endpoint)), token_env)
    with explained(asked):
        info = api.model_info(match["repo"], revision=revision, timeout=TIMEOUT, expand=["sha"])
    return str(info.sha)


def _api(token_env: str) -> Any:
    from huggingface_hub import HfApi

    return HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get(token_env) or None
    )
