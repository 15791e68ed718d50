"""How many tokens a GPU holds at once, from the lengths of the rows."""

from __future__ import annotations

import math

from ft_assets.config import TrainingConfig
from ft_assets.training.estimate.world import World
from ft_assets.training.token_report import TokenReport
from resources.record import Record

_FAR_OUT = 3.0
"""Standard deviations above the mean batch that the largest one of a run reaches."""


class Part(Record):
    """The largest part of a batch that goes through the model at once, per GPU."""

    tokens: int
    trained_tokens: int
    """Upper bound without a token report: all of them."""
    longest: int
    """Tokens of the longest row that may be in it."""


class Rows(Record):
    """What the token report says of the rows, under this configuration."""

    rows: int
    rows_dropped: int
    """Longer than ``max_seq_len``, or with nothing to train on."""
    rows_cut: int
    steps: int
    tokens: int
    """Over all epochs."""
    trained_tokens: int
    """Over all epochs."""
    attended: float
    """Mean over the tokens of the tokens that each one looks back on."""
    longest: int


def rows_of(config: TrainingConfig, report: TokenReport) -> Rows:
    """The rows as this configuration trains on them."""
    squares = sum(count * length**2 for length, count in _midpoints(report))
    return Rows(
        rows=report.rows,
        rows_dropped=report.rows_too_long + report.rows_untrained,
        rows_cut=report.rows_cut,
        steps=math.ceil(report.rows / config.effective_batch_size) * config.num_epochs,
        tokens=report.tokens * config.num_epochs,
        trained_tokens=report.trained_tokens * config.num_epochs,
        attended=squares / max(report.tokens, 1) / 2,
        longest=report.lengths["max"],
    )


def largest_part(config: TrainingConfig, world: World, report: TokenReport | None) -> Part:
    """The part that decides the peak of memory."""
    longest = config.max_seq_len
    tokens, share = config.max_tokens_per_gpu, 1.0
    if report is not None:
        longest, share = min(report.lengths["max"], longest), report.trained_share
        rows = math.ceil(config.effective_batch_size / world.processes)
        tokens = min(tokens, _largest_batch(report, rows, longest))
    if world.in_process and config.sample_packing is False:
        tokens = longest
    elif world.in_process and config.micro_batch_size:
        tokens = min(tokens, config.micro_batch_size * longest)
    tokens = max(tokens, longest)
    return Part(tokens=tokens, trained_tokens=math.ceil(tokens * share), longest=longest)


def _largest_batch(report: TokenReport, rows: int, longest: int) -> int:
    """Tokens of the largest batch of ``rows`` random rows that a run is likely to see."""
    mean = report.tokens / report.rows
    spread = sum(count * (length - mean) ** 2 for length, count in _midpoints(report))
    deviation = math.sqrt(spread / report.rows)
    return math.ceil(min(rows * longest, rows * mean + _FAR_OUT * math.sqrt(rows) * deviation))


def _midpoints(report: TokenReport) -> list[tuple[float, int]]:
    """Length in the middle of each bin of the histogram, and rows in it."""
    starts = [start for start, _ in report.histogram]
    width = starts[1] - starts[0] if len(starts) > 1 else 1
    return [(start + (width - 1) / 2, count) for start, count in report.histogram]
