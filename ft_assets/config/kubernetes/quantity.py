"""Kubernetes' quantities: how much cpu, memory and storage a text means.

Source: the grammar of ``resource.Quantity`` in Kubernetes' API reference. Does not belong here:
what a parameter needs it for.
"""

from __future__ import annotations

import re
from fractions import Fraction

PATTERN = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?$"
"""A number and its suffix; a leading minus is refused here already, as nothing may be below 0."""

_QUANTITY = re.compile(PATTERN)
_FACTOR = {
    **{unit: Fraction(1000) ** power for power, unit in enumerate(["", "k", *"MGTPE"])},
    **{unit: Fraction(1, 1000**power) for power, unit in enumerate("mun", start=1)},
    **{f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_MOST = Fraction(2**63 - 1)
"""Kubernetes caps what is larger without a word."""
_SMALLEST_MEMORY = 6 * 1024**2
"""Bytes: no container starts with less, so that less is a forgotten unit."""
_MOST_CPUS = 1024


def parse_quantity(text: str) -> Fraction:
    """A quantity as an exact number: ``500m`` is 1/2, ``1Ki`` is 1024, ``1e3`` is 1000.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(
            f"is {text!r}: no Kubernetes quantity; write a number with an optional unit "
            "(m, k, M, G, T or Ki, Mi, Gi, Ti) and no space, such as 500m, 2 or 64Gi"
        )
    suffix = match[3] or ""
    factor = _FACTOR.get(suffix)
    if factor is None:  # an exponent
        factor = Fraction(10) ** int(suffix[1:])
    return Fraction(match[1].removesuffix(".")) * factor


def cpu_quantity(value: object) -> str:
    """A number of CPUs, as text.

    Raises:
        ValueError: it is no quantity, not above 0, or finer or larger than Kubernetes takes.
    """
    text = _as_text(value)
    count = _above_zero(text)
    if (count * 1000).denominator != 1:
        raise ValueError(f"is {text!r}: finer than a thousandth of a CPU; round it to 1m")
    if count > _MOST_CPUS:
        raise ValueError(
            f"is {text!r}: that many whole CPUs; write {text}m if you mean thousandths of one"
        )
    return text


def memory_quantity(value: object) -> str:
    """A number of bytes of memory or storage, as text.

    Raises:
        ValueError: it is no quantity, not above 0, or so little that a unit is missing.
    """
    text = _as_text(value)
    count = _above_zero(text)
    if count < _SMALLEST_MEMORY:
        number = re.sub(r"[^0-9.].*", "", text)
        raise ValueError(
            f"is {text!r}: that is {float(count):g} bytes, with which nothing starts; write the "
            f"unit, such as {number}Gi or {number}Mi"
        )
    return text


def _as_text(value: object) -> str:
    """YAML reads a bare ``2`` as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("is no Kubernetes quantity: write 2, 500m or 64Gi")  # noqa: TRY004
    return str(value)


def _above_zero(text: str) -> Fraction:
    count = parse_quantity(text)
    if count <= 0:
        raise ValueError(f"is {text!r}: must be more than 0")
    if count > _MOST:
        raise ValueError(f"is {text!r}: more than Kubernetes can count (2^63-1)")
    return count
