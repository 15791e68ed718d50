"""Which code made an artifact: the digest of the installed sources, and their git commit.

Belongs here: what identifies the code as a whole. Does not belong here: the code version of one
asset, which says when an asset is to be made again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import ft_assets
import resources
from ft_assets.provenance.digest import files_digest
from resources.record import Record

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SUFFIXES = {".py", ".yaml", ".html", ".jinja"}


class CodeRecord(Record):
    """The code that was at work."""

    digest: str = ""
    """sha256 over the names and contents of the sources of ``ft_assets`` and ``resources``."""
    commit: str | None = None
    """The commit of the checkout that they lie in. The digest tells whether they were changed."""


@lru_cache(maxsize=1)
def this_code() -> CodeRecord:
    """The code of this process, as it was when it was first asked for."""
    root = Path(ft_assets.__file__).parent.parent
    folders = [Path(package.__file__ or "").parent for package in (ft_assets, resources)]
    files = [
        str(file.relative_to(root))
        for folder in folders
        for file in folder.rglob("*")
        if file.suffix in _SUFFIXES and file.is_file()
    ]
    return CodeRecord(digest=files_digest(root, files), commit=_commit(root))


def _commit(root: Path) -> str | None:
    """What HEAD is in the checkout at ``root``, read without git; None where there is none."""
    git = root / ".git"
    if git.is_file():  # a further working tree: the file names its folder
        git = root / git.read_text().removeprefix("gitdir:").strip()
    if not (git / "HEAD").is_file():
        return None
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head if _COMMIT.fullmatch(head) else None
    ref = head.removeprefix("ref:").strip()
    shared = git / "commondir"
    common = (git / shared.read_text().strip()) if shared.is_file() else git
    for folder in (git, common):
        if (folder / ref).is_file():
            return (folder / ref).read_text().strip()
    packed = common / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {ref}")), None)
