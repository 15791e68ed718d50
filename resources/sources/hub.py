"""Datasets of a Hugging Face hub, or of a mirror that ``HF_ENDPOINT`` names.

The revision is resolved to a commit first and everything is read at that commit. Which files are
taken is decided in ``hub_files``. No dataset code runs, and no setting of the library is changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.errors import UserError
from resources.sources.files import (
    Fetched,
    SizeLimit,
    SourceFile,
    SourceUnavailableError,
    digest,
    in_name_order,
    is_allowed,
    safe_target,
)
from resources.sources.hub_files import choose, show
from resources.sources.uri import HubUri

_CARD = "README.md"
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404


@dataclass(frozen=True)
class _Hub:
    """One dataset at one commit."""

    api: Any
    repo: str
    commit: str

    def download(self, name: str, into: Path) -> Path:
        path: str = self.api.hf_hub_download(
            self.repo, name, repo_type="dataset", revision=self.commit, local_dir=into
        )
        return Path(path)


def fetch(uri: HubUri, into: Path, limit: SizeLimit, token_env: str) -> Fetched:
    """Download the files that ``uri`` means into the folder ``into``.

    ``token_env`` names the environment variable that holds the hub token; without a value in it
    the library's own stored login is used.

    Raises:
        UserError: no such dataset, revision, config or split; no access; above the limit.
        SourceUnavailableError: the hub does not answer, or sends other bytes than it promised.
    """
    from huggingface_hub import HfApi

    api = HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get(token_env) or None
    )
    what = show(uri)
    with _explained(uri, str(api.endpoint), token_env), _bookkeeping(into):
        info = api.dataset_info(uri.repo, revision=uri.revision, expand=["sha"])
        assert info.sha is not None
        hub = _Hub(api, uri.repo, info.sha)
        entries: dict[str, Any] = {
            entry.path: entry
            for entry in api.list_repo_tree(
                uri.repo, recursive=True, revision=info.sha, repo_type="dataset"
            )
            if hasattr(entry, "size") and (is_allowed(entry.path) or entry.path == _CARD)
        }
        card = _read_card(hub, into) if entries.pop(_CARD, None) is not None else ""
        choice = choose(uri, card, list(entries))
        for name in choice.files:
            limit.add(f"{what}: {name}", entries[name].size)
        files = in_name_order(_download(hub, entries[name], into, what) for name in choice.files)
    notes = tuple(f"{what}: {note}" for note in choice.notes)
    return Fetched(what, files, revision=info.sha, notes=notes)


def _read_card(hub: _Hub, into: Path) -> str:
    path = hub.download(_CARD, into)
    text = path.read_text(encoding="utf-8", errors="replace")
    path.unlink()
    return text


def _download(hub: _Hub, entry: Any, into: Path, what: str) -> SourceFile:
    target = safe_target(into, entry.path, what)
    path = hub.download(entry.path, into)
    assert path.samefile(target)
    sha256 = digest(path)
    size = path.stat().st_size
    promised: str | None = entry.lfs.sha256 if entry.lfs is not None else None
    if size != entry.size or (promised is not None and promised != sha256):
        path.unlink()
        raise SourceUnavailableError(
            f"{what}: {entry.path} arrived as other bytes than the hub promised: run again"
        )
    return SourceFile(entry.path, target, size, sha256, etag=promised or entry.blob_id)


@contextmanager
def _bookkeeping(into: Path) -> Generator[None]:
    """The library keeps download records in the folder; the dataset must not hold them."""
    try:
        yield
    finally:
        shutil.rmtree(into / ".cache", ignore_errors=True)


@contextmanager
def _explained(uri: HubUri, endpoint: str, token_env: str) -> Generator[None]:
    """Turn the hub library's errors into ones that name the dataset and the remedy."""
    import httpx2
    from huggingface_hub import errors

    what = show(uri)
    try:
        yield
    except errors.GatedRepoError as error:
        raise UserError(
            f"{what}: access to this dataset must be asked for on its page at {endpoint}; then "
            f"set {token_env} to a token of that account"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{what}: {endpoint} has no such dataset, or it is private: mend the name, or set "
            f"{token_env} to a token that may read it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{what}: the dataset has no revision {uri.revision}: name a branch, a tag or a commit"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError(
            f"{what}: HF_HUB_OFFLINE is set, so that no hub is asked: unset it, or use a path"
        ) from error
    except errors.HfHubHTTPError as error:
        raise _refused(what, endpoint, token_env, error.response.status_code) from error
    except errors.HFValidationError as error:
        raise UserError(f"{what}: not a hub dataset: {error}") from error
    except (
        httpx2.TransportError,
        errors.LocalEntryNotFoundError,
        errors.FileMetadataError,
    ) as error:
        raise SourceUnavailableError(
            f"{what}: the hub {endpoint} cannot be reached: check the network and HF_ENDPOINT, or "
            f"copy the dataset and use a path ({type(error).__name__})"
        ) from error


def _refused(what: str, endpoint: str, token_env: str, status: int) -> UserError:
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return UserError(
            f"{what}: {endpoint} answered {status}: the token in {token_env} is wrong or may not "
            "read this dataset"
        )
    if status == _NOT_FOUND:
        return UserError(f"{what}: {endpoint} answered 404: check the name and HF_ENDPOINT")
    return SourceUnavailableError(f"{what}: {endpoint} answered {status}: try again later")
