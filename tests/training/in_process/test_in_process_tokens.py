"""Training rows as tokens on disk: what is written, what is left out, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from ft_assets.training.chat import render_chat
from ft_assets.training.in_process.tokens import TokenFile, tokenize
from ft_assets.training.mask import ASSISTANT_TURNS
from ft_assets.training.token_rows import TokenCounts
from resources.errors import UserError
from tests.training.conftest import chat, write_chats

CHATS = [
    chat(("user", "Why?"), ("assistant", "Because.")),
    chat(("user", "a"), ("assistant", "b"), ("user", "🙂"), ("assistant", "é\n")),
    chat(("system", "s"), ("user", "u"), ("assistant", "The library opens at nine.")),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def written(tmp_path: Path, tokenizer: Any):
    """Tokenizes conversations and gives the folder and the counts."""

    def write(chats: list[Any], max_seq_len: int = 1000) -> tuple[Path, TokenCounts]:
        file = write_chats(tmp_path / "train.jsonl", chats)
        folder = tmp_path / "tokens"
        counts = tokenize(
            file, folder, tokenizer, max_seq_len, ASSISTANT_TURNS, report=lambda *a, **k: None
        )
        return folder, counts

    return write


def test_each_row_is_read_back_as_it_was_rendered(written, tokenizer):
    folder, _ = written(CHATS)
    rows = TokenFile(folder)
    assert len(rows) == len(CHATS)
    for index, messages in enumerate(CHATS):
        rendered = render_chat(tokenizer, messages)
        assert rows[index].ids.tolist() == rendered.input_ids
        assert rows[index].trained.tolist() == rendered.trained


def test_the_counts_are_those_of_the_rows(written, tokenizer):
    _, counts = written(CHATS)
    rendered = [render_chat(tokenizer, messages) for messages in CHATS]
    assert counts == TokenCounts(
        rows=3,
        rows_ended=3,
        tokens=sum(len(row.input_ids) for row in rendered),
        trained_tokens=sum(sum(row.trained) for row in rendered),
    )


def test_a_row_of_the_longest_length_is_kept_and_a_longer_one_counted(written, tokenizer):
    lengths = [len(render_chat(tokenizer, messages).input_ids) for messages in CHATS]
    limit = sorted(lengths)[1]
    folder, counts = written(CHATS, max_seq_len=limit)
    rows = TokenFile(folder)
    assert (counts.rows, counts.rows_too_long) == (2, 1)
    assert sorted(len(rows[i].ids) for i in range(len(rows))) == sorted(lengths)[:2]


def test_rows_that_are_all_too_long_are_refused(written):
    with pytest.raises(UserError, match=r"every training row has more than .* \(5\) tokens"):
        written(CHATS, max_seq_len=5)


def test_tokenizing_again_replaces_what_was_there(written):
    written(CHATS)
    folder, _ = written(CHATS[:1])
    assert len(TokenFile(folder)) == 1


def test_the_first_token_is_never_trained(written, tokenizer, monkeypatch):
    """Nothing comes before it that could predict it."""
    monkeypatch.setattr(
        tokenizer,
        "chat_template",
        "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}",
    )
    folder, counts = written([chat(("assistant", "abc"))])
    assert TokenFile(folder)[0].trained.tolist() == [False] + [True] * counts.trained_tokens


def test_a_template_without_an_end_of_turn_is_refused(written, tokenizer, monkeypatch):
    monkeypatch.setattr(
        tokenizer,
        "chat_template",
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}",
    )
    with pytest.raises(UserError, match="would never learn to stop"):
        written(CHATS)
