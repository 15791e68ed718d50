"""Why a row cannot be used, and the small questions that all formats ask."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from ft_assets.data.redaction import excerpt

_SHOWN = 40  # characters of a value, and room for its quotes
_KEYS = 5


class RowError(Exception):
    """A row that is not valid.

    ``kind`` is the reason's fixed short name, for counting; the message says it in words and names
    the place in the row.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def present(item: object) -> bool:
    """Whether a key says anything: Parquet gives every row every key, perhaps with null in it."""
    return item is not None and item not in ("", [], {}, ())


def shown(value: object) -> str:
    """A value of a row as a reason may show it: in quotes, short, redacted."""
    return excerpt(repr(str(value)), _SHOWN + 2)


def keys_of(row: Iterable[str]) -> str:
    """The first keys of a row, for the reason that none of them is known."""
    return ", ".join(shown(key) for key in islice(row, _KEYS)) or "none"


def text_of(value: object, where: str, kind: str = "content_not_text") -> str:
    """A text, or the error that it is none."""
    if not isinstance(value, str):
        found = "missing" if value is None else f"not a string but a {type(value).__name__}"
        raise RowError(kind, f"{where} is {found}")
    if "\x00" in value:
        raise RowError("nul_character", f"{where} holds a NUL character: remove it")
    return value


def flag_of(value: object, where: str) -> bool:
    """True or False, also as 1 and 0; the error where it is neither."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise RowError("flag_not_bool", f"{where} is {shown(value)}: write true or false, or 1 or 0")
