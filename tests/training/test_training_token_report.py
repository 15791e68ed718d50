"""What is reported of the tokens is what will be trained on."""

from __future__ import annotations

import itertools
import random
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from ft_assets.training.chat import render_chat
from ft_assets.training.mask import ASSISTANT_TURNS, MaskPolicy
from ft_assets.training.token_report import (
    count_tokens,
    histogram,
    preview_page,
    preview_rows,
    quantiles,
)
from resources.errors import UserError
from tests.training.conftest import chat, write_chats

CHATS = [chat(("user", "Why? " * n), ("assistant", "Because. " * n)) for n in range(1, 12)]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def counted(tmp_path: Path, tokenizer: Any):
    def count(
        chats: list[Any], *, max_seq_len: int = 1000, policy: MaskPolicy = ASSISTANT_TURNS
    ) -> Any:
        return count_tokens(
            write_chats(tmp_path / "train.jsonl", chats),
            tokenizer,
            max_seq_len=max_seq_len,
            policy=policy,
            effective_batch_size=4,
            num_epochs=3,
            report=lambda *a, **k: None,
        )

    return count


def test_the_numbers_are_those_of_the_rendered_rows(counted, tokenizer):
    report = counted(CHATS)
    rendered = [render_chat(tokenizer, messages) for messages in CHATS]
    lengths = sorted(len(row.input_ids) for row in rendered)
    assert report.rows == len(CHATS)
    assert report.tokens == sum(lengths)
    assert report.trained_tokens == sum(sum(row.trained) for row in rendered)
    assert report.lengths["min"] == lengths[0]
    assert report.lengths["max"] == lengths[-1]
    assert report.lengths["p50"] == statistics.median_low(lengths)
    assert sum(rows for _, rows in report.histogram) == report.rows
    assert (report.steps_per_epoch, report.steps) == (3, 9)
    assert report.trained_share == report.trained_tokens / report.tokens


def test_what_is_too_long_or_says_nothing_is_counted_and_left_out(counted, tokenizer):
    silent = [{"role": "user", "content": "a", "train": True}]
    report = counted([*CHATS, silent], policy=MaskPolicy(train_on_eos="none"), max_seq_len=40)
    kept = [r for m in CHATS if len((r := render_chat(tokenizer, m)).input_ids) <= 40]
    assert report.rows == len(kept) + 1
    assert report.rows_too_long == len(CHATS) - len(kept)


def test_nothing_to_train_on_is_refused_with_the_remedy(counted):
    with pytest.raises(UserError, match=r"no token of any .* training\.roles_to_train is tool"):
        counted(CHATS, policy=MaskPolicy(roles_to_train=("tool",)))


def test_quantiles_are_exact():
    values = [random.Random(7).randrange(500) for _ in range(1001)]
    found = quantiles(Counter(values))
    assert found["p50"] == statistics.median(values)
    assert (found["min"], found["max"]) == (min(values), max(values))
    assert sum(value <= found["p90"] for value in values) >= 0.9 * len(values)
    assert sum(value < found["p90"] for value in values) < 0.9 * len(values)


def test_a_histogram_counts_every_row_once_in_few_bins_of_one_width():
    bins = histogram(Counter({3: 5, 4: 1, 900: 2}))
    assert sum(rows for _, rows in bins) == 8
    assert len(bins) <= 40
    assert len({b[0] - a[0] for a, b in itertools.pairwise(bins)}) == 1
    assert bins[0] == (3, 6)


def test_the_preview_shows_each_token_and_escapes_the_text(tmp_path, tokenizer):
    file = write_chats(
        tmp_path / "t.jsonl",
        [chat(("user", "a"), ("assistant", "b")), chat(("user", "<b>"), ("assistant", "<i>x"))],
    )
    (shown,) = preview_rows(
        file, tokenizer, max_seq_len=100, policy=ASSISTANT_TURNS, first=2, count=1
    )
    page = preview_page("A title", tokenizer, iter([shown]))
    rendered = render_chat(tokenizer, chat(("user", "<b>"), ("assistant", "<i>x")))
    assert page.count('<span class="t"') - 1 == sum(rendered.trained)
    assert page.count('<span class="m"') - 1 == len(rendered.input_ids) - sum(rendered.trained)
    assert "<b>" not in page
    assert "&lt;" in page
