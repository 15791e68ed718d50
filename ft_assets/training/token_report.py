"""What the model will see of the training rows, before a GPU is asked for.

Belongs here: counting and showing tokens. Does not belong here: which tokens are trained on
(:mod:`~ft_assets.training.encode`) and which rows are kept (:mod:`~ft_assets.training.token_rows`).
"""

from __future__ import annotations

# transformers' tokenizers have no complete types.
# pyright: reportUnknownMemberType=false
import math
from collections import Counter
from collections.abc import Mapping
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ft_assets.data.row_files import read_rows
from ft_assets.training.drift import BUCKETS, TokenShape, shape_of
from ft_assets.training.encode import EncodedRow, encode_many
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.token_rows import TokenCounts, training_rows
from resources.launcher.child import Reporter
from resources.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
_BINS = 40


class TokenReport(Record):
    """The training rows as tokens of one base model."""

    rows: int
    """Rows that will be trained on."""
    rows_too_long: int
    """Rows of more than ``max_seq_len`` tokens: left out."""
    rows_untrained: int
    """Rows of which the mask leaves nothing: left out."""
    rows_cut: int
    """Raw text that is cut at ``max_seq_len``."""
    tokens: int
    trained_tokens: int
    lengths: dict[str, int]
    """Quantiles of the tokens per row, of the rows that are trained on."""
    trained_lengths: dict[str, int]
    """Quantiles of the trained tokens per row."""
    histogram: list[tuple[int, int]]
    """Rows by length: (tokens from which the bin counts, rows in it); equal widths."""
    max_seq_len: int
    steps_per_epoch: int
    steps: int
    """Optimizer steps over all epochs."""
    shape: TokenShape
    """What the next drop is compared with."""

    @property
    def trained_share(self) -> float:
        """Trained tokens among all; 0 when there are none."""
        return self.trained_tokens / self.tokens if self.tokens else 0.0


def count_tokens(
    train_file: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_seq_len: int,
    policy: MaskPolicy,
    effective_batch_size: int,
    num_epochs: int,
    report: Reporter,
) -> TokenReport:
    """Tokenize every training row and count, in memory that grows with the distinct lengths only.

    Raises:
        UserError: nothing would be trained on.
    """
    import numpy as np

    counts = TokenCounts()
    lengths: Counter[int] = Counter()
    trained: Counter[int] = Counter()
    buckets = np.zeros(BUCKETS, np.int64)
    for row in training_rows(
        train_file, tokenizer, max_seq_len, policy, report=report, counts=counts
    ):
        lengths[len(row.ids)] += 1
        trained[row.trained_tokens] += 1
        buckets += np.bincount(np.array(row.ids) % BUCKETS, minlength=BUCKETS)
    steps = math.ceil(counts.rows / effective_batch_size)
    return TokenReport(
        rows=counts.rows,
        rows_too_long=counts.rows_too_long,
        rows_untrained=counts.rows_untrained,
        rows_cut=counts.rows_cut,
        tokens=counts.tokens,
        trained_tokens=counts.trained_tokens,
        lengths=quantiles(lengths),
        trained_lengths=quantiles(trained),
        histogram=histogram(lengths),
        max_seq_len=max_seq_len,
        steps_per_epoch=steps,
        steps=steps * num_epochs,
        shape=shape_of(lengths, [int(count) for count in buckets]),
    )


def quantiles(counts: Mapping[int, int]) -> dict[str, int]:
    """The values at :data:`QUANTILES`, exact, by the nearest rank; names such as ``p50``."""
    total = sum(counts.values())
    found: dict[str, int] = {}
    seen, values = 0, iter(sorted(counts))
    value = next(values)
    for quantile in QUANTILES:
        rank = max(1, math.ceil(quantile * total))
        while seen + counts[value] < rank:
            seen += counts[value]
            value = next(values)
        found[{0.0: "min", 1.0: "max"}.get(quantile, f"p{quantile * 100:.0f}")] = value
    return found


def histogram(counts: Mapping[int, int]) -> list[tuple[int, int]]:
    """At most 40 bins of equal width, from the shortest to the longest."""
    low, high = min(counts), max(counts)
    width = max(1, math.ceil((high - low + 1) / _BINS))
    bins: Counter[int] = Counter()
    for value, count in counts.items():
        bins[(value - low) // width] += count
    return [(low + n * width, bins[n]) for n in range((high - low) // width + 1)]


def preview_rows(
    file: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_seq_len: int,
    policy: MaskPolicy,
    first: int,
    count: int,
) -> Iterator[tuple[str, EncodedRow]]:
    """``count`` rows of a row file from row ``first`` (counted from 1) on, with their ids."""
    stored = list(islice(read_rows(file), first - 1, first - 1 + count))
    encoded = encode_many(tokenizer, (row.row for row in stored), policy, max_seq_len)
    return zip((row.id for row in stored), encoded, strict=True)


def pieces(tokenizer: PreTrainedTokenizerBase, row: EncodedRow) -> list[tuple[str, int, bool]]:
    """Each token as text, with its id and whether it is trained on.

    A character of several tokens shows as replacement characters in each of them.
    """
    texts: list[str] = [str(tokenizer.decode([token])) for token in row.ids]
    return list(zip(texts, row.ids, row.mask, strict=True))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px/1.7 sans-serif; max-width: 60rem; margin: 2rem auto; color: #222 }}
pre {{ font: 13px/1.8 monospace; white-space: pre-wrap; overflow-wrap: anywhere }}
span {{ border-radius: 3px; padding: 1px 0; border-right: 1px solid #fff }}
.t {{ background: #cdeccf }} .m {{ background: #eee; color: #555 }}
</style></head><body><h1>{title}</h1>
<p><span class="t">Green</span> tokens are trained on, <span class="m">grey</span> ones are
context. Point at a token for its id.</p>
{rows}
</body></html>
"""


def preview_page(
    title: str, tokenizer: PreTrainedTokenizerBase, rows: Iterator[tuple[str, EncodedRow]]
) -> str:
    """Rows as an HTML page: every token, trained ones green."""
    parts: list[str] = []
    for row_id, row in rows:
        spans = "".join(
            f'<span class="{"t" if trained else "m"}" title="{token}">{escape(_visible(text))}'
            "</span>"
            for text, token, trained in pieces(tokenizer, row)
        )
        parts.append(
            f"<h2>{escape(row_id[:12])}</h2><p>{len(row.ids)} tokens, {row.trained_tokens} trained"
            f"</p><pre>{spans}</pre>"
        )
    return _PAGE.format(title=escape(title), rows="\n".join(parts))


def _visible(text: str) -> str:
    """A line's end as a sign and a line's end: it is a token that may be trained on."""
    return text.replace("\n", "↵\n")
