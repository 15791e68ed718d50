"""What attention keeps of rows that are padded to one length in a bf16 step on the CPU."""

from __future__ import annotations

from ft_assets.training.estimate.attention import (
    LONGEST_SHORT_ROW,
    by_row_in_bf16,
    fused,
    most_places,
    working_by_row_in_bf16,
)

SHORT, LONG = LONGEST_SHORT_ROW - 12, 2 * LONGEST_SHORT_ROW


def test_a_row_alone_is_not_padded_to_another_one(qwen):
    assert by_row_in_bf16(qwen, SHORT, alone=True) < by_row_in_bf16(qwen, SHORT, alone=False)


def test_beside_a_long_row_there_may_be_short_ones_that_are_padded(qwen):
    """They may be as many tokens as the long one, and keep more than it does."""
    alone, packed = (by_row_in_bf16(qwen, LONG, alone=alone) for alone in (True, False))
    assert alone == packed >= fused(qwen, 4)


def test_the_longest_short_row_bounds_what_short_rows_keep():
    places = [most_places(row) for row in range(1, LONGEST_SHORT_ROW + 1)]
    assert places == sorted(places)


def test_while_a_gradient_is_computed_the_probabilities_are_there_twice_more(qwen):
    kept, working = (
        each(qwen, SHORT, alone=True) - each(qwen, 8, alone=True)
        for each in (by_row_in_bf16, working_by_row_in_bf16)
    )
    assert abs(working - 2 * kept) <= 1  # each in whole bytes
