"""Quantities mean what Kubernetes' own client says that they mean."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils import parse_quantity as reference

from ft_assets.config.kubernetes.quantity import cpu_quantity, memory_quantity, parse_quantity

DIGITS = st.text("0123456789", min_size=1, max_size=9)
NUMBERS = st.one_of(
    DIGITS,
    st.builds("{}.{}".format, DIGITS, DIGITS),
    st.builds("{}.".format, DIGITS),
    st.builds(".{}".format, DIGITS),
)
SUFFIXES = st.one_of(
    st.sampled_from(["", *"numkMGTPE", *(f"{unit}i" for unit in "KMGTPE")]),
    st.builds("{}{}{}".format, *map(st.sampled_from, ("eE", ["", "+", "-"], range(10)))),
)


@given(sign=st.sampled_from(["", "+"]), number=NUMBERS, suffix=SUFFIXES)
def test_a_quantity_is_the_number_that_the_reference_reads(sign, number, suffix):
    text = f"{sign}{number}{suffix}"
    expected = Fraction(reference(text))
    # The reference rounds to 28 digits.
    assert abs(parse_quantity(text) - expected) <= abs(expected) / 10**25


@given(st.text("0123456789.eEinumkKMGTPB+- ", max_size=8))
def test_what_the_reference_refuses_is_refused(text):
    try:
        reference(text)
    except ValueError:
        with pytest.raises(ValueError, match="no Kubernetes quantity"):
            parse_quantity(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "1_000", "inf", "nan", "1K", "1ki", "1 Gi", "1e", "0x1"]
)
def test_what_only_python_takes_is_refused(text):
    with pytest.raises(ValueError, match="no Kubernetes quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", Decimal("0.5")),
        ("1Ki", 1024),
        ("1E", 10**18),
        ("1E1", 10),
        ("2e-1", Decimal("0.2")),
    ],
)
def test_a_quantity_is_exact(text, number):
    assert parse_quantity(text) == Fraction(number)


@given(count=st.integers(1, 1_024_000))
def test_any_number_of_thousandths_of_a_cpu_is_taken(count):
    assert cpu_quantity(f"{count}m") == f"{count}m"
    assert parse_quantity(cpu_quantity(count / 1000)) * 1000 == count


@given(count=st.integers(0, 6 * 1024**2 - 1))
def test_too_little_memory_is_taken_for_a_missing_unit(count):
    with pytest.raises(ValueError, match=r"must be more than 0|write the unit"):
        memory_quantity(str(count))
