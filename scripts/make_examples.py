"""Make the example data: questions and answers from the docstrings of Python's standard library.

    python scripts/make_examples.py [--out examples/python-docs]

Needs no network. The same Python release gives the same bytes; another one has other docstrings.
Every function, class and method of the public modules is asked for once, if the first paragraph of
its docstring is a piece of prose. Of answers that nearly equal each other one is kept, so that no
row of one drop repeats a row of the other, and no split can hold out what it trains on.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import importlib
import inspect
import json
import pkgutil
import platform
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ft_assets.data.near_duplicates import shingles, similarity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

ROWS_PER_DROP = 375
NEAR_JACCARD = 0.5
NEAR_RATIO = 0.85

Kind = Literal["function", "class", "method"]

# Not imported: side effects, tests, Python's own tools, and what depends on the build or platform.
SKIPPED = {
    "antigravity", "this", "test", "idlelib", "lib2to3", "ensurepip", "turtledemo", "turtle",
    "tkinter", "curses", "dbm", "readline", "nis", "ossaudiodev", "spwd", "crypt", "msilib",
    "ntpath", "nturl2path", "posixpath", "posix", "nt", "pydoc_data", "sre_compile",
    "sre_constants", "sre_parse", "distutils", "__future__", "venv",
}  # fmt: skip

# Submodules that are not for users.
INNER = {"test", "tests", "expatbuilder"}

# Packages that offer at their top what is meant for users.
FLAT = {"asyncio", "ctypes", "importlib", "json", "multiprocessing", "re", "sqlite3", "zoneinfo"}

# What prose does not look like: signatures, prompts, lists, fields, mark-up, deprecated things.
NOT_PROSE = re.compile(
    r"^[\w.]+\(|->|>>>|^[-*]|: - |:param|@\w|\*\*|::|\\|[<>{}|~^=\[\]]|deprecat|internal|obsolete"
    r"|do not use|not (?:meant|intended)|this (?:function|method|class) is (?:only )?used"
    r"|see (?:also|the|help|above|below|pep)|\bnote:|todo|xxx|base class's|overridden|override"
    r"|subclass(?:es)? (?:should|may|must|can)|\bself\b|^see\b|^(?:like|same as|alias|similar|as)\b"
    r"|^(?:test|helper|mix-?in|implement|initiali[sz]e|constructor|wrapper)\b",
    re.IGNORECASE,
)
PROSE = re.compile(r"[A-Z][A-Za-z' ,;:/.()\"\-`0-9_]+\.")
MIN_CHARACTERS, MAX_CHARACTERS, MIN_WORDS = 40, 400, 7

QUESTIONS: dict[Kind, Sequence[str]] = {
    "function": (
        "What does `{name}` do in Python?",
        "What does the Python function `{name}` do?",
        "In Python, what is `{name}` for?",
        "Explain Python's `{name}` in a sentence or two.",
    ),
    "class": (
        "What is `{name}` in Python?",
        "What is the Python class `{name}`?",
        "In Python, what is the class `{name}` for?",
        "Explain Python's `{name}` class in a sentence or two.",
    ),
    "method": (
        "What does the method `{name}` do in Python?",
        "What does Python's `{name}` method do?",
        "In Python, what is the method `{name}` for?",
        "Explain the method `{name}` of Python's standard library in a sentence or two.",
    ),
}


@dataclass(frozen=True)
class Entry:
    """One documented thing."""

    name: str
    kind: Kind
    answer: str

    @property
    def rank(self) -> str:
        """Its place in an order that mixes all modules."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def question(self) -> str:
        forms = QUESTIONS[self.kind]
        return forms[int(self.rank[-8:], 16) % len(forms)].format(name=self.name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the example data.")
    parser.add_argument("--out", type=Path, default=Path("examples/python-docs"))
    out: Path = parser.parse_args().out
    warnings.simplefilter("ignore")  # deprecated modules say so when they are imported
    found = sorted(entries(), key=lambda entry: entry.rank)
    kept = without_near(found)
    if len(kept) < 2 * ROWS_PER_DROP:
        sys.exit(f"only {len(kept)} rows are left, {2 * ROWS_PER_DROP} are needed")
    drops = [kept[:ROWS_PER_DROP], kept[ROWS_PER_DROP : 2 * ROWS_PER_DROP]]
    out.mkdir(parents=True, exist_ok=True)
    for number, drop in enumerate(drops, 1):
        (out / f"drop-{number}.jsonl").write_text("".join(map(line, drop)), encoding="utf-8")
    (out / "README.md").write_text(readme(len(found), len(kept), drops), encoding="utf-8")
    print(f"{len(found)} usable docstrings, {len(kept)} distinct, 2 x {ROWS_PER_DROP} written")


def line(entry: Entry) -> str:
    messages = [
        {"role": "user", "content": entry.question},
        {"role": "assistant", "content": entry.answer},
    ]
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"


def entries() -> Iterator[Entry]:
    """Everything documented, each object under the shortest of its names."""
    seen: set[int] = set()
    for path, module in modules():
        for name, member in public_members(module):
            if id(member) in seen:
                continue
            seen.add(id(member))
            label = name if path == "builtins" else f"{path}.{name}"
            if inspect.isclass(member):
                yield from class_entries(member, label)
            elif inspect.isroutine(member):
                yield from entry(label, "function", member)


def class_entries(cls: type, label: str) -> Iterator[Entry]:
    yield from entry(label, "class", cls)
    for name in sorted(vars(cls)):
        member = inspect.getattr_static(cls, name)
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
        if not name.startswith("_") and inspect.isroutine(member):
            yield from entry(f"{label}.{name}", "method", member)


def entry(name: str, kind: Kind, member: object) -> Iterator[Entry]:
    answer = first_paragraph(getattr(member, "__doc__", None))
    if answer:
        yield Entry(name, kind, answer)


def modules() -> list[tuple[str, ModuleType]]:
    """The importable public modules with their names, packages before what is in them."""
    names = {n for n in sys.stdlib_module_names if not n.startswith("_") and n not in SKIPPED}
    found = {"os.path": importlib.import_module("os.path")}
    for name in sorted(names):
        if (module := imported(name)) is None:
            continue
        found[name] = module
        if name in FLAT:
            continue
        for info in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
            parts = info.name.split(".")
            private = any(part.startswith("_") or part in INNER for part in parts)
            if not private and (child := imported(info.name)) is not None:
                found[info.name] = child
    return sorted(found.items(), key=lambda item: (item[0].count("."), item[0]))


def imported(name: str) -> ModuleType | None:
    """The module, or None where this platform or build does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def public_members(module: ModuleType) -> Iterator[tuple[str, object]]:
    """What the module offers: its ``__all__``, or what it defines itself."""
    offered = getattr(module, "__all__", None)
    for name in sorted(offered if offered is not None else vars(module)):
        member = getattr(module, name, None)
        own = offered is not None or getattr(member, "__module__", None) == module.__name__
        if own and not name.startswith("_"):
            yield name, member


def first_paragraph(doc: object) -> str | None:
    """The first paragraph on one line, if it is prose of the right length."""
    if not isinstance(doc, str):
        return None
    paragraph = " ".join(inspect.cleandoc(doc).partition("\n\n")[0].split())
    fits = MIN_CHARACTERS <= len(paragraph) <= MAX_CHARACTERS
    if not fits or len(paragraph.split()) < MIN_WORDS:
        return None
    if NOT_PROSE.search(paragraph) or not PROSE.fullmatch(paragraph):
        return None
    return paragraph


def without_near(found: Sequence[Entry]) -> list[Entry]:
    """The entries whose answer does not nearly equal the answer of an earlier one."""
    kept: list[Entry] = []
    grams: list[frozenset[str]] = []
    words: list[frozenset[str]] = []
    for candidate in found:
        its_grams = shingles(candidate.answer)
        its_words = frozenset(candidate.answer.lower().split())
        near = any(
            # Texts that are near by letters share words: this spares most of the slow comparisons.
            similarity(its_words, words[i]) >= 0.3
            and is_near(candidate.answer, kept[i].answer, its_grams, grams[i])
            for i in range(len(kept))
        )
        if not near:
            kept.append(candidate)
            grams.append(its_grams)
            words.append(its_words)
    return kept


def is_near(one: str, other: str, one_grams: frozenset[str], other_grams: frozenset[str]) -> bool:
    if similarity(one_grams, other_grams) >= NEAR_JACCARD:
        return True
    matcher = difflib.SequenceMatcher(None, one.lower(), other.lower(), autojunk=False)
    return matcher.quick_ratio() >= NEAR_RATIO and matcher.ratio() >= NEAR_RATIO


def readme(usable: int, distinct: int, drops: Sequence[Sequence[Entry]]) -> str:
    counts = "\n".join(
        f"| drop-{number}.jsonl | {len(drop)} | {len({e.name.split('.')[0] for e in drop})} "
        f"| {sum(len(e.answer) for e in drop)} |"
        for number, drop in enumerate(drops, 1)
    )
    return README.format(
        version=platform.python_version(),
        platform=sys.platform,
        usable=usable,
        distinct=distinct,
        counts=counts,
    )


README = """\
# Questions and answers about Python's standard library

Two data drops for the demo pipelines. A row asks what a function, a class or a method does; the
answer is the first paragraph of its docstring.

| file | rows | modules | characters in the answers |
| --- | --- | --- | --- |
{counts}

- Source: the docstrings of CPython {version} ({platform}), Copyright Python Software Foundation,
  under the [PSF License Version 2](https://docs.python.org/3/license.html).
- Made by `python scripts/make_examples.py`, without network. {usable} docstrings were usable,
  {distinct} of them distinct; the drops take them in the order of the SHA-256 of their names, so
  both drops mix all modules.
- No row is in both drops, and no answer nearly equals another (word 3-gram Jaccard below 0.5,
  difflib ratio below 0.85), within and across the drops.
"""


if __name__ == "__main__":
    main()
