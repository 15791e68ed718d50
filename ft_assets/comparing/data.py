"""What changed of the data: drops, versions, rows and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ft_assets.comparing.behind import RAW, SPLIT
from ft_assets.comparing.change import Change, changes
from ft_assets.comparing.rows import RowChange, Sides, compare_rows
from ft_assets.data.split_report import HELD_OUT_FILE, TRAIN_FILE
from resources.errors import UserError

if TYPE_CHECKING:
    from ft_assets.comparing.behind import Behind

_DROPS_NAMED = 20


@dataclass(frozen=True)
class DataChange:
    """The data of two versions."""

    drops_added: list[str]
    """Drops that only the new version was trained on; at most 20 are named, the newest."""
    drops_removed: list[str]
    drops_changed: list[str]
    """Drops of both whose rows are other ones."""
    drops_in_all: tuple[int, int, int]
    """How many were added, removed and changed, those that are not named among them."""
    facts: list[Change]
    """Versions, counts and sources that differ."""
    train_rows: tuple[int | None, int | None]
    """Training rows of the old and of the new one."""
    rows: RowChange | None
    """None where a split is not kept, or cannot be read."""
    unknown: list[str]
    """What could not be compared, one sentence each."""

    @property
    def same_training_rows(self) -> bool:
        """Whether both were trained on the same rows; False where nobody knows."""
        return self.rows is not None and not (self.rows.train_added or self.rows.train_removed)


def data_change(old: Behind, new: Behind) -> DataChange:
    """Compare the data of two versions."""
    before, after = old.drops, new.drops
    rows, unknown = _rows(old, new)
    added = [drop for drop in after if drop not in before]
    removed = [drop for drop in before if drop not in after]
    changed = [drop for drop in after if before.get(drop, after[drop]) != after[drop]]
    return DataChange(
        drops_added=_newest(added),
        drops_removed=_newest(removed),
        drops_changed=_newest(changed),
        drops_in_all=(len(added), len(removed), len(changed)),
        facts=_facts(old, new),
        train_rows=(_train_rows(old), _train_rows(new)),
        rows=rows,
        unknown=unknown,
    )


def _newest(drops: list[str]) -> list[str]:
    return drops[-_DROPS_NAMED:]


def _facts(old: Behind, new: Behind) -> list[Change]:
    reports = [_report(one, SPLIT) for one in (old, new)]
    raw_reports = [_report(one, RAW) for one in (old, new)]
    facts: dict[str, tuple[Any, Any]] = {
        "raw data version": (_data_version(old, RAW), _data_version(new, RAW)),
        "source": (_source(old, "uri"), _source(new, "uri")),
        "source revision": (_source(old, "revision"), _source(new, "revision")),
        "split data version": (_data_version(old, SPLIT), _data_version(new, SPLIT)),
        "training rows": (_train_rows(old), _train_rows(new)),
    }
    if None not in raw_reports:
        facts["raw rows"] = _both(raw_reports, "rows_kept")
        facts["rows dropped as bad"] = _both(raw_reports, "dropped")
    if None not in reports:
        facts["rows before the split"] = _both(reports, "rows_in")
        facts["held-out rows"] = _both(reports, "held_out_rows")
        facts["rows dropped by the split"] = _both(reports, "dropped")
    return changes(facts)


def _both(reports: list[dict[str, Any] | None], name: str) -> tuple[Any, Any]:
    old, new = ((report or {}).get(name) for report in reports)
    return old, new


def _report(one: Behind, asset: str) -> dict[str, Any] | None:
    found = one.kept.get(asset)
    return None if found is None else found.metadata.get("report")


def _data_version(one: Behind, asset: str) -> Any:
    found = one.kept.get(asset)
    return found.artifact.data_version if found else one.said(f"{asset}.data_version")


def _source(one: Behind, field: str) -> Any:
    found = one.kept.get(RAW)
    if found is None or not found.recorded.sources:
        return None
    return getattr(found.recorded.sources[0], field)


def _train_rows(one: Behind) -> int | None:
    report = _report(one, SPLIT)
    rows = one.said("training_rows") if report is None else report.get("train_rows")
    return rows if isinstance(rows, int) else None


def _rows(old: Behind, new: Behind) -> tuple[RowChange | None, list[str]]:
    splits = [one.kept.get(SPLIT) for one in (old, new)]
    if splits[0] is None or splits[1] is None:
        return None, ["the rows were not compared: a split is no longer kept"]
    if splits[0].artifact.data_version == splits[1].artifact.data_version:
        return RowChange(0, 0, 0, 0, 0, 0), []  # the same rows: not read
    try:
        sides = [
            Sides(split.artifact.file(TRAIN_FILE), split.artifact.file(HELD_OUT_FILE))
            for split in splits
            if split is not None
        ]
        return compare_rows(*sides), []
    except UserError as error:
        return None, [f"the rows were not compared: {error}"]
