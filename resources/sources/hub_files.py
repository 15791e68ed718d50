"""Which files of a hub dataset hold the rows to train on.

Pure functions of the dataset card and the list of files. The card's ``configs`` decide where there
are any; else the names do: a file or folder named after a split belongs to it. A split is never
guessed: ``test`` rows must not be trained on because nothing else was found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import yaml

from resources.errors import UserError
from resources.sources.files import nothing_found
from resources.sources.uri import HubUri

TRAIN = "train"

_SPLIT_WORDS = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Choice:
    """The files of one split, in name order, and what was decided for the user."""

    files: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Config:
    name: str
    is_default: bool
    folder: str
    splits: Mapping[str, Sequence[str]] | None
    """Patterns of each split; None when the card leaves it to the names in ``folder``."""


def choose(uri: HubUri, card: str, paths: Sequence[str]) -> Choice:
    """The files that ``uri`` means, out of ``paths``, which are of known types only.

    Raises:
        UserError: no such config or split, more than one and none named, or no file in it.
    """
    configs = _configs(card, uri)
    if not configs:
        if uri.config not in {None, "default"}:  # as the hub calls the only one
            raise UserError(
                f"{show(uri)}: the dataset card names no configs: write {show(uri, config=None)}"
            )
        return _by_name(uri, paths)
    config = _pick_config(uri, configs)
    below = [path for path in paths if path.startswith(config.folder)]
    if config.splits is None:
        return _by_name(uri, below)
    split, notes = _pick_split(uri, sorted(config.splits))
    patterns = [_glob(config.folder + pattern) for pattern in config.splits[split]]
    files = [path for path in below if any(pattern.fullmatch(path) for pattern in patterns)]
    return _chosen(uri, files, notes)


def show(uri: HubUri, **changes: str | None) -> str:
    """``uri`` as text, with some parts changed: for messages and remedies."""
    changed = replace(uri, **changes)
    text = f"hf://{changed.repo}"
    for mark, part in ((":", changed.config), ("@", changed.revision), ("#", changed.split)):
        text += f"{mark}{part}" if part else ""
    return text


def _configs(card: str, uri: HubUri) -> list[_Config]:
    match = _FRONT_MATTER.match(card)
    if match is None:
        return []
    try:
        header: Any = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        raise UserError(
            f"{show(uri)}: the header of the dataset card (README.md) is not YAML: {error}"
        ) from error
    entries: Any = cast("dict[str, Any]", header).get("configs") if _is_map(header) else None
    if not isinstance(entries, list):
        return []
    return [
        _config(cast("dict[str, Any]", entry))
        for entry in cast("list[Any]", entries)
        if _is_map(entry)
    ]


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _config(entry: Mapping[str, Any]) -> _Config:
    folder = str(entry.get("data_dir") or "").removeprefix("./").strip("/")
    return _Config(
        name=str(entry.get("config_name", "default")),
        is_default=entry.get("default") is True,
        folder=f"{folder}/" if folder else "",
        splits=_splits(entry.get("data_files")),
    )


def _splits(data_files: Any) -> dict[str, list[str]] | None:
    """The forms a card may use: one pattern, several, or patterns per split."""
    if not data_files:
        return None
    if isinstance(data_files, dict):
        by_split = cast("dict[Any, Any]", data_files)
        return {str(split): _patterns(value) for split, value in by_split.items()}
    splits: dict[str, list[str]] = {}
    for item in _as_list(data_files):
        if _is_map(item):
            split, patterns = str(item.get("split", TRAIN)), _patterns(item.get("path"))
        else:
            split, patterns = TRAIN, _patterns(item)
        splits.setdefault(split, []).extend(patterns)
    return splits


def _patterns(value: Any) -> list[str]:
    return [str(item).removeprefix("./") for item in _as_list(value)]


def _as_list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _pick_config(uri: HubUri, configs: Sequence[_Config]) -> _Config:
    names = [config.name for config in configs]
    if uri.config is not None:
        found = [config for config in configs if config.name == uri.config]
        if not found:
            raise UserError(
                f"{show(uri)}: there is no config {uri.config}; the dataset card has "
                f"{', '.join(names)}"
            )
        return found[0]
    defaults = [config for config in configs if config.is_default or config.name == "default"]
    if len(configs) == 1 or defaults:
        return (defaults or list(configs))[0]
    raise UserError(
        f"{show(uri)}: the dataset has the configs {', '.join(names)}: name one, such as "
        f"{show(uri, config=names[0])}"
    )


def _pick_split(uri: HubUri, splits: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    if uri.split is not None:
        if uri.split not in splits:
            raise UserError(
                f"{show(uri)}: there is no split {uri.split}; there is {', '.join(splits)}"
            )
        return uri.split, ()
    others = [split for split in splits if split != TRAIN]
    if TRAIN in splits:
        if not others:
            return TRAIN, ()
        return TRAIN, (f"took the split {TRAIN}; left out {', '.join(others)}",)
    if len(others) == 1 and others[0] not in _SPLIT_WORDS:
        return others[0], (f"took the only split, {others[0]}",)
    raise UserError(
        f"{show(uri)}: there is no split {TRAIN}, only {', '.join(others)}: name the one to train "
        f"on, such as {show(uri, split=others[0])}"
    )


def _by_name(uri: HubUri, paths: Sequence[str]) -> Choice:
    """Files by the split that their name, or else a folder above them, says.

    A file that names no split counts as training data.
    """
    if not paths:
        raise nothing_found(show(uri))
    if uri.split is not None and uri.split not in _SPLIT_WORDS:
        own = [path for path in paths if _says(path, (uri.split.lower(),))]
        if own:
            return _chosen(uri, own, ())
    splits: dict[str, list[str]] = {}
    unnamed: list[str] = []
    for path in paths:
        split = _named_split(path)
        (unnamed if split is None else splits.setdefault(split, [])).append(path)
    notes: tuple[str, ...] = ()
    if TRAIN not in splits and unnamed:
        splits[TRAIN] = unnamed
    elif TRAIN in splits and unnamed:
        notes = (f"left out files that name no split: {', '.join(unnamed[:5])}",)
    split, chosen = _pick_split(uri, sorted(splits))
    return _chosen(uri, splits[split], (*chosen, *notes))


def _named_split(path: str) -> str | None:
    folder, _, name = path.rpartition("/")
    for text in (name, folder):
        for split, words in _SPLIT_WORDS.items():
            if _says(text, words):
                return split
    return None


def _says(text: str, words: Sequence[str]) -> bool:
    """Whether a word stands in ``text`` between marks, digits, or its ends."""
    either = "|".join(re.escape(word) for word in words)
    return re.search(rf"(?:^|[-._ /0-9])(?:{either})(?:[-._ /0-9]|$)", text.lower()) is not None


def _chosen(uri: HubUri, files: Sequence[str], notes: tuple[str, ...]) -> Choice:
    if not files:
        raise nothing_found(show(uri))
    return Choice(tuple(sorted(files)), notes)


def _glob(pattern: str) -> re.Pattern[str]:
    """A card's pattern: ``*`` and ``?`` within one name, ``**`` over folders."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    meaning = {"**/": "(?:.+/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    regex = ""
    for piece in pieces:
        if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:  # noqa: PLR2004
            regex += "[" + piece[1:-1].replace("!", "^", 1).replace("\\", "\\\\") + "]"
        else:
            regex += meaning.get(piece, re.escape(piece))
    return re.compile(regex)
