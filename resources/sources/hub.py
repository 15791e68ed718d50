"""Datasets of a Hugging Face hub, or of a mirror that ``HF_ENDPOINT`` names.

The revision is resolved to a commit first and everything is read at that commit. Which files are
taken is decided in ``hub_files``. No dataset code runs, and no setting of the library is changed.

Versions: the commit, and of each file its size, its SHA-256 and the digest that the hub keeps (its
SHA-256 for large files, else git's blob id) are recorded. A commit never changes, whatever becomes
of its branch meanwhile. Every file is checked against its size and the hub's digest. The library
resumes broken downloads; what it gives up for a passing reason, and a file that arrived as other
bytes, is asked for again here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resources.errors import UserError
from resources.free_room import refuse_what_does_not_fit
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
from resources.sources.retries import ATTEMPTS, retry_after, wait_before_retry
from resources.sources.uri import HubUri, redact

_CARD = "README.md"
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _SERVER_ERROR = 401, 403, 404, 500
_PASSING = {408, 425, 429}


class _OtherBytesError(Exception):
    """A file arrived, and is not the one that the hub lists."""


@dataclass(frozen=True)
class _Hub:
    """One dataset at one commit."""

    api: Any
    repo: str
    commit: str
    sleep: Callable[[float], None]

    def download(self, name: str, into: Path) -> Path:
        path: str = self.api.hf_hub_download(
            self.repo, name, repo_type="dataset", revision=self.commit, local_dir=into
        )
        return Path(path)


def fetch(
    uri: HubUri,
    into: Path,
    limit: SizeLimit,
    token_env: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Download the files that ``uri`` means into the folder ``into``.

    ``sleep`` is called with the seconds to wait before something is asked for again.

    ``token_env`` names the environment variable that holds the hub token; without a value in it
    the library's own stored login is used.

    Raises:
        UserError: no such dataset, revision, config or split; no access; above the limit; more
            than fits.
        SourceUnavailableError: the hub does not answer, or sends other bytes than it promised.
    """
    from huggingface_hub import HfApi

    api = HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get(token_env) or None
    )
    what = show(uri)
    asked = Asked("dataset", what, uri.revision, redact(str(api.endpoint)), token_env)
    with explained(asked), _bookkeeping(into):
        info: Any = _asked(
            lambda: api.dataset_info(uri.repo, revision=uri.revision, expand=["sha"]), sleep
        )
        hub = _Hub(api, uri.repo, info.sha, sleep)
        entries = _asked(lambda: _list(hub), sleep)
        card = _read_card(hub, into) if entries.pop(_CARD, None) is not None else ""
        choice = choose(uri, card, list(entries))
        for name in choice.files:
            limit.add(f"{what}: {name}", entries[name].size)
        refuse_what_does_not_fit(what, sum(entries[name].size for name in choice.files), into)
        files = in_name_order(_download(hub, entries[name], into, what) for name in choice.files)
    notes = tuple(f"{what}: {note}" for note in choice.notes)
    return Fetched(what, files, revision=info.sha, notes=notes)


def _list(hub: _Hub) -> dict[str, Any]:
    """The files that may be read, by name."""
    tree = hub.api.list_repo_tree(
        hub.repo, recursive=True, revision=hub.commit, repo_type="dataset"
    )
    return {
        entry.path: entry
        for entry in tree
        if hasattr(entry, "size") and (is_allowed(entry.path) or entry.path == _CARD)
    }


def _asked(call: Callable[[], Any], sleep: Callable[[float], None]) -> Any:
    """What ``call`` gives, at the latest at the last of some attempts."""
    import httpx2
    from huggingface_hub import errors

    for failures in range(1, ATTEMPTS):
        asked = 0.0
        try:
            return call()
        except errors.HfHubHTTPError as error:
            if not _is_passing(error.response.status_code):
                raise
            asked = retry_after(error.response.headers.get("Retry-After", ""))
        except (httpx2.TransportError, errors.LocalEntryNotFoundError, _OtherBytesError):
            pass
        except OSError as error:
            if not _is_truncation(error):
                raise
        sleep(wait_before_retry(failures, asked))
    return call()


def _is_truncation(error: OSError) -> bool:
    """The library's "Consistency check failed" has no type of its own, and no number."""
    return type(error) is OSError and error.errno is None


def _is_passing(status: int) -> bool:
    return status in _PASSING or status >= _SERVER_ERROR


def _read_card(hub: _Hub, into: Path) -> str:
    path: Path = _asked(lambda: hub.download(_CARD, into), hub.sleep)
    text = path.read_text(encoding="utf-8", errors="replace")
    path.unlink()
    return text


def _download(hub: _Hub, entry: Any, into: Path, what: str) -> SourceFile:
    target = safe_target(into, entry.path, what)

    def checked() -> SourceFile:
        path = hub.download(entry.path, into)
        assert path.samefile(target)
        sha256, size = digest(path), path.stat().st_size
        promised: str = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
        arrived = sha256 if entry.lfs is not None else _blob_id(path, size)
        if size != entry.size or promised != arrived:
            path.unlink()
            raise _OtherBytesError
        return SourceFile(entry.path, target, size, sha256, etag=promised)

    try:
        return _asked(checked, hub.sleep)
    except _OtherBytesError:
        raise SourceUnavailableError(
            f"{what}: {entry.path} arrived as other bytes than the hub promised: run again"
        ) from None


def _blob_id(path: Path, size: int) -> str:
    """What git calls the content of a file that it keeps itself."""
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            blob.update(block)
    return blob.hexdigest()


@contextmanager
def _bookkeeping(into: Path) -> Generator[None]:
    """The library keeps download records in the folder; the dataset must not hold them."""
    try:
        yield
    finally:
        shutil.rmtree(into / ".cache", ignore_errors=True)


@dataclass(frozen=True)
class Asked:
    """What a hub was asked for, as messages say it."""

    kind: Literal["dataset", "model"]
    what: str
    revision: str | None
    endpoint: str
    token_env: str


@contextmanager
def explained(asked: Asked) -> Generator[None]:
    """Turn the hub library's errors into ones that name the dataset or model and the remedy.

    Their texts hold URLs with signatures: they are neither repeated nor kept as the cause.
    """
    import httpx2
    from huggingface_hub import errors

    kind, what, endpoint, token_env = asked.kind, asked.what, asked.endpoint, asked.token_env
    try:
        yield
    except errors.GatedRepoError:
        raise UserError(
            f"{what}: access to this {kind} must be asked for on its page at {endpoint}; then "
            f"set {token_env} to a token of that account"
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{what}: {endpoint} has no such {kind}, or it is private: mend the name, or set "
            f"{token_env} to a token that may read it"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(
            f"{what}: the {kind} has no revision {asked.revision}: name a branch, a tag or a commit"
        ) from None
    except errors.OfflineModeIsEnabled:
        raise UserError(
            f"{what}: HF_HUB_OFFLINE is set, so that no hub is asked: unset it, or use a path"
        ) from None
    except errors.HfHubHTTPError as error:
        raise _refused(asked, error.response.status_code) from None
    except errors.HFValidationError as error:
        raise UserError(f"{what}: not a hub {kind}: {error}") from None
    except (
        httpx2.TransportError,
        errors.LocalEntryNotFoundError,
        errors.FileMetadataError,
    ) as error:
        raise SourceUnavailableError(
            f"{what}: the hub {endpoint} cannot be reached: check the network and HF_ENDPOINT, or "
            f"copy the {kind} and use a path ({type(error).__name__})"
        ) from None
    except OSError as error:
        if not _is_truncation(error):
            raise
        raise SourceUnavailableError(
            f"{what}: a file was truncated at {ATTEMPTS} attempts: try again later"
        ) from None


def _refused(asked: Asked, status: int) -> UserError:
    what, endpoint = asked.what, asked.endpoint
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return UserError(
            f"{what}: {endpoint} answered {status}: the token in {asked.token_env} is wrong or may "
            f"not read this {asked.kind}"
        )
    if _is_passing(status):
        return SourceUnavailableError(f"{what}: {endpoint} answered {status}: try again later")
    if status == _NOT_FOUND:
        return UserError(f"{what}: {endpoint} answered 404: check the name and HF_ENDPOINT")
    return UserError(f"{what}: {endpoint} answered {status}: check the name and HF_ENDPOINT")
