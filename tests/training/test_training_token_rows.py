"""Which training rows are refused as useless: it hangs on the shapes that they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.formats import normalize
from ft_assets.data.row_files import row_line
from ft_assets.training.encode import BATCH
from ft_assets.training.mask import ASSISTANT_TURNS, MaskPolicy
from ft_assets.training.token_rows import TokenCounts, training_rows
from resources.errors import UserError
from tests.training.conftest import chat

CHAT = {"messages": chat(("user", "Why?"), ("assistant", "Because."))}
SEGMENTS = {"segments": [{"label": False, "text": "Q: Why?"}, {"label": True, "text": " So."}]}
TOKENS = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}
TEXT = {"text": "The library opens at nine."}
ENDLESS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def taken(tmp_path: Path, tokenizer: Any):
    """Takes every training row of a file of these rows, and gives the counts."""

    def take(
        *rows: dict[str, Any], max_seq_len: int = 1000, policy: MaskPolicy = ASSISTANT_TURNS
    ) -> TokenCounts:
        file = tmp_path / "train.jsonl"
        shapes = [normalize(row) for row in rows]
        file.write_bytes(b"".join(row_line(row_id(s), canonical_bytes(s)) for s in shapes))
        counts = TokenCounts()
        found = training_rows(
            file, tokenizer, max_seq_len, policy, report=lambda *a, **k: None, counts=counts
        )
        assert len(list(found)) == counts.rows
        return counts

    return take


@pytest.mark.parametrize("row", [SEGMENTS, TOKENS, TEXT], ids=["segments", "tokens", "text"])
def test_rows_without_a_template_are_trained_as_they_are(taken, row):
    """Nothing is added to them, so that nothing is asked of their end."""
    counts = taken(row, row)
    assert (counts.rows, counts.rows_as_they_are, counts.rows_ended) == (2, 2, 0)


def test_chats_that_never_end_are_refused_also_beside_other_rows(taken, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", ENDLESS)
    for rows in ([CHAT], [CHAT, TEXT], [SEGMENTS, CHAT, TOKENS]):
        with pytest.raises(UserError, match="the chat template ends no assistant turn"):
            taken(*rows)
    assert taken(CHAT, policy=MaskPolicy(train_on_eos="none")).rows == 1


def test_a_chat_that_is_left_out_says_nothing_about_the_template(taken, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", ENDLESS)
    long = {"messages": chat(("user", "Why?"), ("assistant", "Because. " * 50))}
    counts = taken(SEGMENTS, long, max_seq_len=40)
    assert (counts.rows, counts.rows_too_long) == (1, 1)


def test_every_row_is_counted_by_its_own_shape_over_many_batches(taken):
    rows = [(CHAT, SEGMENTS, TOKENS)[n % 3] for n in range(2 * BATCH + 7)]
    counts = taken(*rows)
    assert counts.rows == len(rows)
    assert counts.rows_ended == sum("messages" in row for row in rows)
    assert counts.rows_as_they_are == len(rows) - counts.rows_ended


def test_rows_that_train_on_nothing_are_refused(taken):
    with pytest.raises(UserError, match=r"training\.roles_to_train is tool"):
        taken(CHAT, policy=MaskPolicy(roles_to_train=("tool",)))
    with pytest.raises(UserError, match=r"more than training\.max_seq_len \(2\) tokens"):
        taken(TOKENS, max_seq_len=2)
