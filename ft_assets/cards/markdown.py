"""Markdown out of text that nobody has checked.

Belongs here: escaping, tables, lists. Does not belong here: what a card says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ft_assets.config.secret import is_secret_value
from resources.sources.uri import redact_urls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"([\\`*_\[\]!|~$])")
_AT_THE_START = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[#+\-=:]))")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
# A backslash does not keep these from becoming links.
_LINK = re.compile(r"://|\bwww\.", re.IGNORECASE)
_LONGEST = 2000  # characters of one text; more is no text for a card


def text(value: object) -> str:
    """``value`` on one line, with nothing in it that Markdown or HTML take for markup."""
    escaped = _MARKUP.sub(r"\\\1", one_line(value))
    escaped = "".join(_ENTITIES.get(char, char) for char in escaped)
    escaped = _LINK.sub(lambda found: "".join(f"&#{ord(char)};" for char in found[0]), escaped)
    return _AT_THE_START.sub(r"\1\\", escaped)  # a list, a heading, a line


def one_line(value: object) -> str:
    """``value`` as text without line breaks, control characters, passwords and signatures."""
    flat = "".join(char if char.isprintable() else " " for char in str(value))
    flat = " ".join(flat.split())
    flat = redact_urls(flat)
    if is_secret_value(flat):
        return "(hidden: it looks like a secret)"
    return flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]}…"


def code(value: object) -> str:
    """``value`` as code within a line; also between the bars of a table."""
    flat = one_line(value).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", flat)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if flat.startswith("`") or flat.endswith("`") or not flat else ""
    return f"{fence}{pad}{flat or '-'}{pad}{fence}"


def paragraphs(value: str) -> str:
    """A text of several lines: its paragraphs stay apart."""
    blocks = re.split(r"\n\s*\n", value.strip())
    return "\n\n".join(text(block) for block in blocks if block.strip())


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are Markdown already."""
    lines = [_row(heads), _row(["---"] * len(heads)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def bullets(items: Iterable[str]) -> str:
    """A list; the items are Markdown already."""
    return "\n".join(f"- {item}" for item in items)


def sections(parts: Iterable[tuple[str, str]]) -> str:
    """Headed sections; those without content are left out."""
    return "\n\n".join(f"## {head}\n\n{body}" for head, body in parts if body)


def number(value: float | None) -> str:
    """A number for people: at most four digits behind the point, large ones with commas."""
    if value is None:
        return ""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.4f}" if abs(value) >= 0.001 else f"{value:.3g}"  # noqa: PLR2004


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
