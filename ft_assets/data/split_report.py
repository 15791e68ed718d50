"""What the split leaves and says about itself: its files, its report, the counts that become it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import Field

from ft_assets.data.redaction import excerpt
from resources.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TRAIN_FILE = "train.jsonl"
HELD_OUT_FILE = "held_out.jsonl"
NEAR_DUPLICATES_FILE = "near_duplicates.jsonl"
CLUSTERS_FILE = "clusters.jsonl"

HELD_OUT_TASK = "held_out"
"""The task's name of documents that are held-out rows, where rows are compared with documents."""

CONTAMINATED = "contaminated"
DUPLICATE = "exact_duplicate"
DUPLICATE_HELD_OUT = "exact_duplicate_held_out"
EQUALS_HELD_OUT = "equals_held_out"
GROUP_HELD_OUT = "group_of_held_out"
NEAR_HELD_OUT = "near_duplicate_of_held_out"
NEAR_TRAINING = "near_duplicate_in_training"
NOT_IN_SUBSET = "not_in_subset"

NO_STRATUM = "(none)"
"""The stratum of rows without one, in a held-out set of the user's own."""

_STRATA_NAMED = 50
_STRATA_SAID = 5
_STRATA_COUNTED = 10_000  # each by itself; a field with more values is no stratum
_MANY_NEAR = 0.2  # share of the training rows from which dropping them deserves a word
_FAR_OFF = 0.1  # from the ratio that was asked for: groups are uneven


class StratumCount(Record):
    """How one stratum was divided, or all that are not named one by one."""

    name: str | None
    """Shortened and redacted; None for the rest together."""
    train_rows: int
    held_out_rows: int


class DropRows(Record):
    """The rows of one drop, as they came."""

    drop: str
    rows: int
    """Before equal, near and other rows are left out."""


class SplitReport(Record):
    """How the rows were divided. ``rows_in`` is the sum of both sides and of ``dropped``."""

    rows_in: int
    """All rows that were read, those of a held-out set of the user's own among them."""
    duplicates: int
    """Rows that exactly equal an earlier row of their side, dropped or (``keep``) kept."""
    subset: int
    """The subset that was asked for, in distinct rows; 0 means all."""
    train_rows: int
    held_out_rows: int
    dropped: dict[str, int]
    """By reason, where above 0: ``exact_duplicate``; ``exact_duplicate_held_out``, in the user's
    own held-out set; ``equals_held_out`` and ``group_of_held_out``, training rows (the second with
    a held-out set of the user's own alone); ``not_in_subset``;
    ``near_duplicate_of_held_out``; ``near_duplicate_in_training``; ``contaminated``."""
    ratio_asked: float
    ratio_actual: float
    """Training rows among the rows of both sides."""
    seed: int
    near_duplicates: float
    """The threshold; 0 means that near duplicates were not looked for."""
    near_clusters: int
    """Clusters of near duplicates in the training rows, one row of each kept (if it was not
    contaminated); 0 where they were not looked for. Their rows: this and
    ``dropped["near_duplicate_in_training"]``."""
    groups: int
    """Groups that the rows of both sides are of, before near and contaminated rows are dropped; 0
    where rows have none."""
    strata: list[StratumCount]
    """The largest first, at most 50 of them, and the rest together; empty where rows have none."""
    strata_warning: str | None = None
    """What ``warnings`` say about strata that are not measured."""
    train_digest: str | None = None
    """SHA-256 of ``train.jsonl``. Whoever publishes the file reads it anyhow, and says it then."""
    held_out_digest: str | None = None
    warnings: list[str]
    drops: list[DropRows] = Field(default_factory=list[DropRows])
    """Where drops are accumulated: the drops whose rows were read, in that order."""


class Strata:
    """Rows per stratum and side, in bounded memory."""

    def __init__(self) -> None:
        self._train: Counter[str | None] = Counter()
        self._held_out: Counter[str | None] = Counter()
        self._names: set[str] = set()

    def add(self, names: Iterable[str], *, train: bool) -> None:
        """Count rows of these strata."""
        side = self._train if train else self._held_out
        for name in names:
            if len(self._names) < _STRATA_COUNTED:
                self._names.add(name)
            side[self._counted_as(name)] += 1

    def drop_from_training(self, name: str) -> None:
        """One training row of this stratum is gone."""
        self._train[self._counted_as(name)] -= 1

    def _counted_as(self, name: str) -> str | None:
        return name if name in self._names else None

    def counts(self) -> list[StratumCount]:
        """As in :attr:`SplitReport.strata`."""
        sizes = self._train + self._held_out
        named = [name for name, _ in sizes.most_common() if name is not None][:_STRATA_NAMED]
        counts = [
            StratumCount(
                name=excerpt(name),
                train_rows=self._train[name],
                held_out_rows=self._held_out[name],
            )
            for name in named
        ]
        rest = StratumCount(
            name=None,
            train_rows=self._train.total() - sum(count.train_rows for count in counts),
            held_out_rows=self._held_out.total() - sum(count.held_out_rows for count in counts),
        )
        return [*counts, rest] if rest.train_rows or rest.held_out_rows else counts

    def without_held_out(self) -> list[str]:
        """The strata of which no row is held out, the largest first."""
        return [
            name
            for name, rows in self._train.most_common()
            if name is not None and rows > 0 and not self._held_out[name]
        ]


@dataclass
class Tally:
    """The numbers of the report while rows go by."""

    dropped: Counter[str] = field(default_factory=Counter[str])
    duplicates: int = 0
    distinct: int = 0
    """Rows without their equals, before the subset."""
    groups: int = 0
    clusters: int = 0
    strata: Strata = field(default_factory=Strata)

    def reasons(self) -> dict[str, int]:
        """As in :attr:`SplitReport.dropped`."""
        return {reason: count for reason, count in self.dropped.items() if count}


def warnings(
    tally: Tally, train: int, held_out: int, *, ratio: float, subset: int, own_held_out: bool
) -> list[str]:
    """What the user should know about a split into ``train`` and ``held_out`` rows."""
    found: list[str] = []
    if not held_out:
        found.append(
            "dataset.split 1.0: there is NO HELD-OUT SET, nothing will measure whether the model "
            "has learned or only memorised: set dataset.split below 1 or dataset.eval_uri"
        )
    if subset > tally.distinct:
        found.append(
            f"dataset.subset {subset} is more than the {tally.distinct} distinct rows: all are used"
        )
    near = tally.dropped[NEAR_HELD_OUT]
    compared = train + near + tally.dropped[NEAR_TRAINING]
    if near > _MANY_NEAR * compared:
        found.append(
            f"{near} of {compared} training rows nearly equal a held-out row and were "
            "dropped: the data repeats itself, or dataset.near_duplicates is too low for it"
        )
    if own_held_out or not held_out:
        return found
    share = compared / (compared + held_out)
    if tally.groups and abs(share - ratio) > _FAR_OFF:
        found.append(
            f"{share:.0%} of the rows are on the training side and dataset.split is {ratio}: whole "
            f"groups are divided, and the {tally.groups} groups are too few or too uneven"
        )
    if unmeasured := strata_warning(tally.strata):
        found.append(unmeasured)
    return found


def strata_warning(strata: Strata) -> str | None:
    """What to say about strata that are trained on and not measured."""
    missing = strata.without_held_out()
    if not missing:
        return None
    names = ", ".join(repr(excerpt(name)) for name in missing[:_STRATA_SAID])
    return (
        f"{len(missing)} strata have no held-out row and are not measured: {names}"
        f"{', ...' if len(missing) > _STRATA_SAID else ''}: add rows of them or lower dataset.split"
    )


def after_contamination(
    report: SplitReport, train: Path, held_out: Path, *, rows: int
) -> SplitReport:
    """The report after contaminated rows were left out of the training side.

    Args:
        report: the split's own.
        train: the training side as it is now; the strata are counted in it again.
        held_out: the held-out side.
        rows: how many rows ``train`` has.
    """
    gone = report.train_rows - rows
    if not gone:
        return report
    strata, warning = Strata(), None
    if report.strata:
        from ft_assets.data.row_blocks import row_blocks  # loads numpy: not with the definitions

        for side in (train, held_out):
            for block in row_blocks(side):
                names = (one.stratum or NO_STRATUM for one in block.beside())
                strata.add(names, train=side == train)
        # Where the split said nothing, the held-out set is the user's own.
        warning = strata_warning(strata) if report.strata_warning else None
    warnings = [text for text in report.warnings if text != report.strata_warning]
    return report.model_copy(
        update={
            "train_rows": rows,
            "dropped": {**report.dropped, CONTAMINATED: gone},
            "ratio_actual": rows / (rows + report.held_out_rows),
            "strata": strata.counts(),
            "strata_warning": warning,
            "warnings": [*warnings, warning] if warning else warnings,
        }
    )
