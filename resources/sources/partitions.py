"""A dataset URI with ``{partition}`` in it: one dataset drop per partition key.

Belongs here: the keys, their order, and which key a name stands for. Does not belong here: how the
names are listed; each scheme does that.
"""

from __future__ import annotations

import re

from resources.errors import UserError
from resources.sources.files import is_allowed
from resources.sources.uri import redact

PLACEHOLDER = "{partition}"

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,127}")


def is_partition_key(key: str) -> bool:
    """Whether ``key`` can name a partition, in a URI as much as in a file name."""
    return _KEY.fullmatch(key) is not None


def substitute(template: str, partition: str) -> str:
    """The URI of one dataset drop.

    Raises:
        UserError: the template does not hold ``{partition}`` exactly once, or the key is not one.
    """
    before, after = split_template(template)
    if not is_partition_key(partition):
        raise UserError(
            f"partition key {partition!r}: use at most 128 letters, digits and . _ = -, beginning "
            "with a letter or a digit"
        )
    return before + partition + after


def split_template(template: str) -> tuple[str, str]:
    """What stands before and after ``{partition}``.

    Raises:
        UserError: the template does not hold ``{partition}`` exactly once.
    """
    before, found, after = template.partition(PLACEHOLDER)
    if not found or PLACEHOLDER in after:
        raise UserError(
            f"{redact(template)}: write {PLACEHOLDER} exactly once where the dataset drops differ"
        )
    return before, after


def key_pattern(before: str, after: str) -> re.Pattern[str]:
    """Matches the names of files that belong to a partition; group 1 is its key.

    A name belongs to it when it is what the template names, or lies in the folder that it names.
    """
    below = "/.+" if after.endswith("/") else "(?:/.+)?"
    return re.compile(f"{re.escape(before)}([^/]+?){re.escape(after.rstrip('/'))}{below}")


def matching_key(pattern: re.Pattern[str], name: str) -> str | None:
    """The partition that the file ``name`` belongs to, if it is a dataset file of one."""
    match = pattern.fullmatch(name)
    if match is None or not is_allowed(name) or not is_partition_key(match.group(1)):
        return None
    return match.group(1)


def natural_order(key: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which ``drop-9`` comes before ``drop-10``."""
    pieces = re.split(r"([0-9]+)", key)
    return [(int(piece), "") if i % 2 else (0, piece) for i, piece in enumerate(pieces)], key
