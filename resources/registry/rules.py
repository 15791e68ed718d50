"""The rules of registration that every registry adapter shares.

Belongs here: which names, versions and properties are accepted, which version comes next, which
champion may be replaced, and which was the one before. Does not belong here: reading or writing a
registry.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from resources.errors import UserError
from resources.registry.port import (
    ANY_CHAMPION,
    AUTO,
    ChampionChange,
    Property,
    Registration,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,249}")
_NUMBER = r"(0|[1-9][0-9]{0,8})"
_SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
_DESCRIPTION_LIMIT = 4096
_NAME_LIMIT = 255
_INT64 = 2**63
_SHOWN = 10

Semver = tuple[int, int, int]
_NO_SEMVER: Semver = (-1, -1, -1)


def check_registration(registration: Registration) -> None:
    """Refuse what no registry could keep.

    Raises:
        UserError: names the field, its value and the rule.
    """
    check_model_name(registration.model)
    if registration.version != AUTO:
        parse_version(registration.version)
    parse_version(registration.base_version, "base_version")
    for field in ("digest", "uri", "author"):
        if not getattr(registration, field).strip():
            raise UserError(f"registering {registration.model}: {field} is empty")
    for field in ("digest", "uri", "author", "owner", "description", "format_name"):
        _check_text(
            f"registering {registration.model}: {field}", getattr(registration, field) or ""
        )
    length = len(registration.description)
    if length > _DESCRIPTION_LIMIT:
        raise UserError(
            f"registering {registration.model}: the description has {length} characters; "
            f"{_DESCRIPTION_LIMIT} are allowed"
        )
    _check_properties(registration.model, registration.properties)


def check_model_name(name: str) -> None:
    """Refuse a model name that is blank, too long or holds characters that registries refuse."""
    if not _MODEL.fullmatch(name) or name != name.strip():
        raise UserError(
            f"model name {name!r} is not valid: 1 to 250 letters, digits, '.', '_', '-' and inner "
            "spaces, starting with a letter or a digit"
        )


def parse_version(version: str, field: str = "version") -> Semver:
    """The three numbers of a strict version such as ``1.2.3``."""
    match = _SEMVER.fullmatch(version)
    if match is None:
        also = f", or {AUTO}" if field == "version" else ""
        raise UserError(
            f"{field} {version!r} is not valid: write three numbers without leading zeros, "
            f"such as 1.2.3{also}"
        )
    return int(match[1]), int(match[2]), int(match[3])


def next_version(existing: Iterable[str], base_version: str) -> str:
    """The next patch after the highest of ``existing``, or ``base_version`` when there is none.

    Versions that someone else named otherwise (``v1``) do not count.
    """
    highest = max((version_order(version) for version in existing), default=_NO_SEMVER)
    if highest == _NO_SEMVER:
        return base_version
    major, minor, patch = highest
    return f"{major}.{minor}.{patch + 1}"


def version_order(version: str) -> Semver:
    """A sort key: strict versions by their numbers, all others before them."""
    return parse_version(version) if _SEMVER.fullmatch(version) else _NO_SEMVER


def may_replace(registration: Registration, digest: str | None) -> bool:
    """Whether new content was compared with the champion of this digest (None: there is none)."""
    return registration.replaces in (ANY_CHAMPION, digest)


def lacking(
    has: Mapping[str, Property], uri: str, registration: Registration
) -> dict[str, Property]:
    """The properties that a version lacks and a registration of its content may add.

    The same content may come again from another drop or another training: what that one measured is
    no property of the version that is there.

    Args:
        has: the properties that are there.
        uri: where the version's files are; empty where its registration was broken off before that.
        registration: of the same content.
    """
    if uri not in ("", registration.uri):
        return {}
    return {name: value for name, value in registration.properties.items() if name not in has}


class ChampionMovedError(UserError):
    """The champion is another one than the candidate was compared with."""


def not_compared(model: str, champion: str | None) -> ChampionMovedError:
    """The error for new content that was compared with another champion than the one in force.

    Args:
        model: its name.
        champion: the version in force; None when there is none.
    """
    if champion is None:
        return ChampionMovedError(
            f"not registered: the model {model} has no champion now, and the evaluation compared "
            "the candidate with one: materialize eval_report again"
        )
    return ChampionMovedError(
        f"not registered: the champion is {model} {champion} now, and the evaluation did not "
        "compare the candidate with it: materialize eval_report again"
    )


def no_champion(model: str, versions: Iterable[str]) -> UserError:
    """The error for a model that has versions, and nothing says which is in force."""
    newest = max(versions, key=version_order)
    return UserError(
        f"the model {model} has versions and no champion, so that nobody knows what a candidate "
        f"has to beat: choose one with ft registry promote {model} {newest} --why TEXT"
    )


def passed_over(model: str, version: str, champion: str | None) -> UserError:
    """The error for content that is registered, while another became champion at that moment."""
    return UserError(
        f"{model} {version} is registered and archived: {champion} became the champion at the same "
        "moment, and the evaluation did not compare the candidate with it. To put it in force all "
        f"the same: ft registry promote {model} {version} --why TEXT"
    )


def champions_in_order(history: Sequence[ChampionChange]) -> list[str]:
    """The champions that a rollback goes through, the one in force last.

    A version that was rolled back is no longer among them: it was taken out of force because it
    was bad, so that the next rollback goes further back and not to it.
    """
    order: list[str] = []
    for change in history:
        if change.act == "rolled back" and change.version in order:
            del order[order.index(change.version) + 1 :]
            continue
        if change.version in order:
            order.remove(change.version)
        order.append(change.version)
    return order


def rollback_target(model: str, history: Sequence[ChampionChange], version: str | None) -> str:
    """The version that a rollback puts in force: the champion before, or ``version``.

    Raises:
        UserError: there was no champion before the one in force, or ``version`` was none.
    """
    *former, in_force = champions_in_order(history) or [""]
    if version is None and not former:
        why = f"{in_force} is the first one" if in_force else "it has none"
        raise UserError(f"model {model}: there is no champion to go back to: {why}")
    if version == in_force:
        raise UserError(f"model {model}: version {version} is in force already")
    if version is not None and version not in former:
        raise UserError(
            f"model {model}: version {version} is no champion to go back to, because it was rolled "
            f"back itself (there are {', '.join(reversed(former)) or 'none'}): to put it in force "
            "all the same use ft registry promote"
        )
    return version or former[-1]


def unknown(what: str, known: list[str]) -> UserError:
    """The error for something that the registry does not have, with the names that it has."""
    shown = ", ".join(known[:_SHOWN]) or "none"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return UserError(f"{what} is not registered; registered: {shown}{more}")


def _check_properties(model: str, properties: Mapping[str, Property]) -> None:
    for name, value in properties.items():
        where = f"registering {model}: property {name!r}"
        if not name.strip() or len(name) > _NAME_LIMIT:
            raise UserError(f"{where}: a name has 1 to {_NAME_LIMIT} characters, not all blank")
        _check_text(where, name)
        _check_value(where, value)


def _check_text(where: str, text: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UserError(f"{where} is not valid Unicode text: it holds half a surrogate pair")


def _check_value(where: str, value: object) -> None:
    match value:
        case bool():
            pass
        case int() if not -_INT64 <= value < _INT64:
            raise UserError(f"{where} is {value}: integers have at most 64 bits")
        case float() if not math.isfinite(value):
            raise UserError(f"{where} is {value}: only finite numbers can be registered")
        case str():
            _check_text(where, value)
        case int() | float():
            pass
        case _:
            raise UserError(
                f"{where} is a {type(value).__name__}: only bool, int, float and str can be "
                "registered"
            )
