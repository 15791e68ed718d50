"""One look for new data, step by step: read, decide, write down, ask.

The order is what makes it exact. All is read first, so that an error of the source ends the look
before anything is written. What is decided is written to the ledger before a run is asked for: when
a look is killed in between, the next one finds the row and asks for the same again. A row counts as
done when the run is there, and Dagster makes no second run of one run key.
"""

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg

from ft_assets.automation.new_data import base_model, reasons, rows
from ft_assets.automation.new_data.accumulate import Changes, read_changes, write_changes
from ft_assets.automation.new_data.ledger import Asked, Ledger, launched
from ft_assets.automation.new_data.limits import room
from ft_assets.automation.new_data.look import Seen, at, complete, due, next_ask, notice
from ft_assets.automation.new_data.observe import DATASET, Observed, Place
from ft_assets.automation.new_data.state import Cursor, Watched, read_cursor
from ft_assets.automation.new_rows import count_rows
from ft_assets.config import Pipeline
from resources.errors import UserError
from resources.sources import Sources


@dataclass(frozen=True)
class Ask:
    """A run that is asked for."""

    drop: str | None
    """None for a dataset without drops."""
    run_key: str
    token: str


@dataclass
class Outcome:
    """What a look ends with."""

    cursor: str
    asks: list[Ask] = field(default_factory=list[Ask])
    reason: str = ""
    """Why nothing is asked for, or what else there is to say."""


@dataclass
class _Look:
    """What is known while the look goes on."""

    place: Place
    instance: dg.DagsterInstance
    ledger: Ledger
    changes: Changes
    now: float
    watched: dict[str, Watched]
    seen: dict[str, Seen | None] = field(default_factory=dict[str, "Seen | None"])
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    awaited: list[str] = field(default_factory=list[str])
    full: bool = False
    unreadable: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def pipeline(self) -> Pipeline:
        return self.place.pipeline

    def take_in(self, found: Observed) -> dict[str, Seen | None]:
        """Notice what was read from the source, given what is known to have been asked for."""
        marker = self.pipeline.spec.automation.marker
        seen: dict[str, Seen | None] = {
            drop: None if one is None else Seen(one, self.changes.token(drop, one.token))
            for drop, one in found.versions.items()
        }
        noticed = notice(self.watched, seen, self.asked, self.now, marker)
        self.seen |= seen
        self.watched = noticed.watched
        self.awaited = sorted({*self.awaited, *noticed.awaited})
        self.full = self.full or noticed.full
        self.unreadable |= found.unreadable
        return seen


def tick(
    pipeline: Pipeline,
    sources: Sources,
    instance: dg.DagsterInstance,
    cursor_text: str | None,
    now: float,
) -> Outcome:
    """Look once.

    Args:
        pipeline: whose data.
        sources: how the data is reached.
        instance: where runs and the ledger are.
        cursor_text: what the look before has left.
        now: seconds since the epoch.
    """
    cursor = read_cursor(cursor_text)
    storage, name = instance.run_storage, pipeline.spec.name
    accumulate = pipeline.spec.dataset.accumulate
    changes = read_changes(storage, name) if accumulate else Changes()
    place, ledger = Place(pipeline, sources), Ledger(storage, name)
    look = _Look(place, instance, ledger, changes, now, at(cursor.watched, now))
    try:
        listed = _look_around(look, cursor)
        candidates, why_not = _candidates(look)
    except UserError as error:
        text = cursor.text() if cursor_text is None else cursor_text
        return Outcome(text, reason=f"The source could not be looked at: {error}")
    commits, hub_trouble = _commits(look)
    asks, said = _ask(look, candidates, commits)
    left = Cursor(
        watermark=cursor.watermark if look.full else listed.watermark,
        sweep=cursor.sweep if look.full else listed.sweep,
        watched=look.watched,
        awaited=look.awaited,
    )
    said += [*why_not, *reasons.unreadable(look.unreadable), *hub_trouble]
    return Outcome(
        left.text(),
        asks,
        reasons.sentence(said, reasons.nothing_new(len(look.seen), full=look.full)),
    )


def _look_around(look: _Look, cursor: Cursor) -> Observed:
    """A page of new names, a page of all, and the drops whose run was asked for."""
    added: list[str] = []
    if look.place.partitioned and not look.place.listed:
        added = sorted(look.instance.get_dynamic_partitions(f"{look.pipeline.spec.name}_drops"))
    listed = look.place.pages(cursor, added)
    missing = [drop for drop in cursor.awaited if drop not in listed.versions]
    look.place.single(missing, listed)
    look.asked |= _confirmed(look, look.ledger.read(listed.versions))
    look.take_in(listed)
    # One that cannot be read now is not forgotten.
    look.awaited += [drop for drop in cursor.awaited if drop in look.unreadable]
    return listed


def _candidates(look: _Look) -> tuple[list[str], list[str]]:
    """The drops that are asked for now, oldest first; why others, or none, are.

    Each is looked at once more, now that its row is known: a version that is there after its row
    was read comes after the version in the row. (What was listed before the row was read may be
    older, when another look has asked for a newer version in between.)
    """
    config = look.pipeline.spec.automation
    ripe = due(look.watched, look.now, config)
    if not ripe:
        return [], reasons.waiting(look.watched, look.now, config)
    free = room(look.pipeline, look.instance, look.now, look.awaited)
    if not free.runs:
        said = reasons.waiting(look.watched, look.now, config)
        return [], [f"{reasons.names(ripe)}: {free.reason}", *said]
    look.asked |= _confirmed(look, look.ledger.read(ripe))
    again = look.take_in(look.place.single(ripe))
    whole = complete(look.watched, again, look.now, config)
    own = {drop: one.version.token for drop in whole if (one := look.seen[drop]) is not None}
    with tempfile.TemporaryDirectory(prefix="ft-rows-") as scratch:
        through, look.watched = rows.enough(
            whole,
            look.watched,
            least=config.min_new_rows,
            together=look.pipeline.spec.dataset.accumulate,
            reruns=rows.reruns(look.changes, own, look.asked),
            count=lambda drop: _count_rows(look, drop, Path(scratch)),
            now=look.now,
        )
    said = reasons.waiting(look.watched, look.now, config)
    if len(through) > free.runs:
        said.append(f"{reasons.names(through[free.runs :])}: next in turn")
    return through[: free.runs], said


def _count_rows(look: _Look, drop: str, scratch: Path) -> int | None:
    """Rows of a drop; None for one that cannot be read, which does not hide the others."""
    try:
        return count_rows(
            look.place.sources,
            look.pipeline.spec.dataset.uri,
            None if drop == DATASET else drop,
            look.pipeline.spec.automation.min_new_rows,
            base_dir=look.pipeline.folder,
            scratch=scratch,
        )
    except UserError as error:
        look.unreadable[drop] = str(error)
        return None


def _commits(look: _Look) -> tuple[dict[str, str], list[str]]:
    """The base models' commits; a hub that does not answer stops nothing else."""
    if not look.pipeline.spec.automation.watch_base_model:
        return {}, []
    try:
        models = base_model.base_models(look.pipeline)
        return base_model.revisions(models, look.place.sources), []
    except UserError as error:
        return {}, [f"The base model could not be looked at: {error}"]


def _ask(
    look: _Look, candidates: list[str], commits: Mapping[str, str]
) -> tuple[list[Ask], list[str]]:
    """Write down what is asked for, and give back all that was asked for and has no run yet."""
    wanted = {drop: next_ask(drop, look.seen, look.asked) for drop in candidates}
    if look.pipeline.spec.automation.dry_run:
        named = [*look.awaited, *wanted]
        said = [f"Dry run: would run {reasons.names(named)}"] if named else []
        return [], [*said, *_ask_for_base_models(look, commits, wanted)[1]]
    if look.pipeline.spec.dataset.accumulate and not _write_changes(look, candidates):
        return [], ["Another look is going on: the next one goes on"]
    standing = look.ledger.move(wanted)
    look.awaited = sorted({*look.awaited, *standing})
    look.watched = {drop: one for drop, one in look.watched.items() if drop not in standing}
    look.asked |= standing
    rows_asked = {drop: look.asked[drop] for drop in look.awaited if drop in look.seen}
    asks = [
        Ask(None if drop == DATASET else drop, asked.run_key(drop), asked.token)
        for drop, asked in rows_asked.items()
        if not asked.seen
    ]
    begin = [drop for drop, asked in standing.items() if not asked.seen]
    again, said = _ask_for_base_models(look, commits, begin)
    return [*asks, *again], said


def _write_changes(look: _Look, candidates: Iterable[str]) -> bool:
    changes = look.changes
    for drop in candidates:
        found = look.seen[drop]
        assert found is not None
        changes = changes.after_asking(drop, found.version.token, look.asked.get(drop))
    if changes == look.changes:
        return True
    return write_changes(look.instance.run_storage, look.pipeline.spec.name, changes)


def _ask_for_base_models(
    look: _Look, commits: Mapping[str, str], asked_now: Collection[str]
) -> tuple[list[Ask], list[str]]:
    """A run of the newest complete drop for each base model that has a new commit.

    The ledger moves last: what stops a commit now does not keep the next look from it.
    """
    if not commits:
        return [], []
    known = _confirmed(look, look.ledger.read(commits))
    known |= look.ledger.move(base_model.first_seen(commits, known))
    new = base_model.moved(commits, known)
    waiting = {row: one for row, one in known.items() if not one.seen}
    if not new and not waiting:
        return [], []
    models = base_model.names_of([*waiting, *new])
    try:
        drop = base_model.newest_complete(look.place, look.ledger, look.changes, asked_now)
    except UserError as error:
        return [], [reasons.new_commits(models, f"the source could not be looked at: {error}")]
    if drop is None:
        return [], [reasons.new_commits(models, "no drop is complete yet")]
    if look.pipeline.spec.automation.dry_run:
        would = f"dry run: would run {reasons.names([drop])}"
        return [], [] if drop in asked_now else [reasons.new_commits(models, would)]
    said: list[str] = []
    if drop in asked_now:  # its run begins after this look, and takes the new commit
        new = {row: replace(one, seen=True) for row, one in new.items()}
    else:
        free = room(look.pipeline, look.instance, look.now, look.awaited)
        later = base_model.names_of([*new][free.runs :])
        if later:
            said = [reasons.new_commits(later, free.reason or "next in turn")]
        new = dict([*new.items()][: free.runs])
    asked = {**waiting, **look.ledger.move(new)}
    of = None if drop == DATASET else drop
    asks = [Ask(of, one.run_key(row), one.token) for row, one in asked.items() if not one.seen]
    return asks, said


def _confirmed(look: _Look, asked: dict[str, Asked]) -> dict[str, Asked]:
    """The same, with those marked whose run is there now."""
    there = {
        row: replace(one, seen=True)
        for row, one in asked.items()
        if not one.seen and launched(look.instance, look.pipeline.spec.name, one.run_key(row))
    }
    return {**asked, **look.ledger.move(there)}
