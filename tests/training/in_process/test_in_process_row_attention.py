"""In a bf16 step short rows attend by plain products, long ones in fp32; both are attention."""

from __future__ import annotations

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from ft_assets.training.estimate.attention import LONGEST_SHORT_ROW, most_places
from ft_assets.training.in_process import short_row_attention
from ft_assets.training.in_process.row_attention import attend_by_row

HEADS, KEY_HEADS, SIZE = 6, 2, 8
LONG = LONGEST_SHORT_ROW + 1


class Layer(torch.nn.Module):
    """What transformers asks of an attention layer."""

    is_causal = True
    num_key_value_groups = HEADS // KEY_HEADS


def given(lengths):
    """Queries, keys and values of rows that lie end to end, and what the model hands through."""
    generator = torch.Generator().manual_seed(1)
    tensors = [
        torch.randn(1, heads, sum(lengths), SIZE, generator=generator).requires_grad_()
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    ]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    return tensors, {"position_ids": positions, "scaling": SIZE**-0.5}


def in_bf16_step(tensors, further, mask=None):
    *others, value = tensors
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = attend_by_row(Layer(), *others, value.to(torch.bfloat16), mask, **further)
    assert found.dtype == torch.bfloat16
    return found


@pytest.fixture
def short_rows(monkeypatch):
    """The lengths of the rows that are given to short_row_attention.py."""
    seen: list[int] = []
    attend = short_row_attention.attend

    def look(query, key, value, lengths, scaling):
        seen.extend(lengths)
        return attend(query, key, value, lengths, scaling)

    monkeypatch.setattr(short_row_attention, "attend", look)
    return seen


@pytest.mark.parametrize(
    ("lengths", "short"),
    [
        ([9, 5], [9, 5]),
        ([1, 1, 30], [1, 1, 30]),
        ([LONGEST_SHORT_ROW], [LONGEST_SHORT_ROW]),
        ([300, 40, 290, 110, 130], [300, 40, 290, 110, 130]),
        ([LONG], []),
        ([7, LONG, 12, 3], [7, 12, 3]),
    ],
)
def test_in_bf16_it_is_fp32s_and_so_are_its_gradients(lengths, short, short_rows):
    tensors, further = given(lengths)
    weights = torch.randn(1, sum(lengths), HEADS, SIZE)
    exact, _ = attend_by_row(Layer(), *tensors, None, **further)
    wanted = torch.autograd.grad((exact * weights).sum(), tensors)
    found = in_bf16_step(tensors, further)
    gradients = torch.autograd.grad((found.float() * weights).sum(), tensors)
    assert short_rows == short
    for one, other in zip((found, *gradients), (exact, *wanted), strict=True):
        assert (one.float() - other).norm() <= 1e-2 * other.norm()


def test_in_bf16_a_row_sees_nothing_of_the_others_and_nothing_later():
    tensors, further = given([9, 5])
    before = in_bf16_step(tensors, further)
    with torch.no_grad():
        for tensor in tensors:
            tensor[:, :, 7] += 3.0  # the last but one of the first row
    after = in_bf16_step(tensors, further)
    assert torch.equal(before[:, :7], after[:, :7])
    assert torch.equal(before[:, 9:], after[:, 9:])
    assert not torch.equal(before[:, 7:9], after[:, 7:9])


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ((90, 45, 66, 44), [(3, 96), (1, 48)]),
        ((300, 40, 290, 110, 130, 200), [(3, 304), (2, 136), (1, 40)]),
        ((130, 78, 77), [(2, 136), (1, 80)]),
        ((512, 300), [(1, 512), (1, 304)]),
    ],
)
def test_rows_of_about_one_length_are_padded_to_it(lengths, groups):
    found = short_row_attention._groups(lengths)
    assert [(group.rows, group.length) for group in found] == groups
    tokens = torch.cat([group.tokens for group in found])
    assert tokens.sort().values.tolist() == list(range(sum(lengths)))


def places(lengths):
    groups = short_row_attention._groups(tuple(lengths))
    return sum(group.rows * group.length**2 for group in groups)


@hypothesis.given(st.lists(st.integers(1, LONGEST_SHORT_ROW), min_size=1))
def test_padding_takes_no_more_than_the_plan_counts_on(lengths):
    assert places(lengths) <= sum(lengths) * most_places(max(lengths))


@hypothesis.given(
    st.lists(st.integers(1, LONGEST_SHORT_ROW // 8).map(lambda n: 8 * n), min_size=1, max_size=20)
)
def test_short_rows_take_no_more_than_a_short_one_that_is_as_long_as_they_are_together(lengths):
    hypothesis.assume(sum(lengths) <= LONGEST_SHORT_ROW)
    assert places(lengths) <= sum(lengths) ** 2


def test_in_bf16_a_long_row_is_attended_to_in_fp32():
    (query, key, value), further = given([LONG])
    value = value.to(torch.bfloat16)
    exact, _ = attend_by_row(Layer(), query, key, value.float(), None, **further)
    found = in_bf16_step([query, key, value], further)
    assert torch.equal(found, exact.to(torch.bfloat16))


@pytest.mark.parametrize("further", [{"dropout": 0.1}, {"is_causal": False}, {"scaling": None}])
def test_what_is_not_plainly_causal_is_left_to_transformers(further, short_rows):
    tensors, plain = given([9, 5])
    in_bf16_step(tensors, {**plain, **further})
    assert short_rows == []


def test_a_mask_is_left_to_transformers(short_rows):
    tensors, further = given([9])
    mask = torch.ones(1, 1, 9, 9, dtype=torch.bool).tril().logical_and_(torch.arange(9) != 3)
    exact, _ = attend_by_row(Layer(), *tensors, mask, **further)
    found = in_bf16_step(tensors, further, mask)
    assert short_rows == []
    assert (found.float() - exact).norm() <= 1e-2 * exact.norm()
