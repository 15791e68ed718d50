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
from collections.abc import Iterable, Mapping
from pathlib import Path

import dagster as dg

from ft_assets.automation.new_data import base_model, reasons, rows
from ft_assets.automation.new_data import commits as base_models
from ft_assets.automation.new_data.accumulate import Changes, read_changes, write_changes
from ft_assets.automation.new_data.ledger import Ledger, Turn, made
from ft_assets.automation.new_data.limits import bounded, going_on, room
from ft_assets.automation.new_data.look import at, complete, due, next_ask
from ft_assets.automation.new_data.looking import Ask, Looking, Outcome, ask_for
from ft_assets.automation.new_data.observe import DATASET, Observed, Place
from ft_assets.automation.new_data.scheduled import said as said_again
from ft_assets.automation.new_data.scheduled import unmade
from ft_assets.automation.new_data.state import Cursor, read_cursor
from ft_assets.automation.new_rows import count_rows
from ft_assets.automation.one_at_a_time import one_at_a_time
from ft_assets.config import Pipeline
from resources.errors import UserError
from resources.sources import Sources
from resources.sources.partitions import natural_order

_ANOTHER_LOOK = "Another look is going on: the next one goes on"


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
    place, ledger = Place(pipeline, sources), Ledger(storage, name)
    # Before all that is decided from; where nothing is bounded, nobody takes turns.
    turn = ledger.turn() if bounded(pipeline) else Turn(0)
    changes = read_changes(storage, name) if accumulate else Changes()
    look = Looking(place, instance, ledger, turn, changes, now, at(cursor.watched, now))
    look.scheduled = unmade(instance, name, turn, now)
    try:
        listed = _look_around(look, cursor)
        commits, trouble = base_models.commits_now(look)
        trouble += base_models.take_in(look, commits)
        candidates, why_not = _candidates(look)
    except UserError as error:
        text = cursor.text() if cursor_text is None else cursor_text
        return Outcome(text, reason=f"The source could not be looked at: {error}")
    asks, said = _ask(look, candidates, commits)
    left = Cursor(
        watermark=cursor.watermark if look.full else listed.watermark,
        sweep=cursor.sweep if look.full else listed.sweep,
        watched=look.watched,
        awaited=look.awaited,
    )
    said += [*why_not, *reasons.unreadable(look.unreadable), *trouble]
    return Outcome(
        left.text(),
        asks,
        reasons.sentence(said, reasons.nothing_new(len(look.seen), full=look.full)),
    )


def _look_around(look: Looking, cursor: Cursor) -> Observed:
    """A page of new names, a page of all, and the drops whose run was asked for."""
    added: list[str] = []
    if look.place.partitioned and not look.place.listed:
        added = sorted(look.instance.get_dynamic_partitions(f"{look.pipeline.spec.name}_drops"))
    listed = look.place.pages(cursor, added)
    missing = [drop for drop in cursor.awaited if drop not in listed.versions]
    look.place.single(missing, listed)
    look.asked |= look.confirmed(look.ledger.read(listed.versions))
    look.take_in(listed)
    # One that cannot be read now is not forgotten.
    look.awaited += [drop for drop in cursor.awaited if drop in look.unreadable]
    return listed


def _candidates(look: Looking) -> tuple[list[str], list[str]]:
    """The drops that are asked for now, oldest first; why others, or none, are.

    Each is looked at once more, now that its row is known: a version that is there after its row
    was read comes after the version in the row. (What was listed before the row was read may be
    older, when another look has asked for a newer version in between.)
    """
    config = look.pipeline.spec.automation
    ripe = due(look.watched, look.now, config)
    if not ripe:
        return [], reasons.waiting(look.watched, look.now, config)
    free = room(look.pipeline, look.instance, look.now, look.begins)
    if not free.runs:
        said = reasons.waiting(look.watched, look.now, config)
        return [], [f"{reasons.names(ripe)}: {free.reason}", *said]
    look.asked |= look.confirmed(look.ledger.read(ripe))
    again = look.take_in(look.place.single(ripe))
    whole = complete(look.watched, again, look.now, config)
    own = {drop: one.version.token for drop in whole if (one := look.seen[drop]) is not None}
    with tempfile.TemporaryDirectory(prefix="ft-rows-") as scratch:
        through, look.watched = rows.enough(
            whole,
            look.watched,
            least=config.min_new_rows,
            together=look.pipeline.spec.dataset.accumulate,
            let=look.changes.through,
            reruns=rows.reruns(look.changes, own, look.asked),
            count=lambda drop: _count_rows(look, drop, Path(scratch)),
            now=look.now,
        )
    if config.min_new_rows:
        look.through = {drop: look.watched[drop].token for drop in through}
    said = reasons.waiting(look.watched, look.now, config)
    if len(through) > free.runs:
        said.append(f"{reasons.names(through[free.runs :])}: next in turn")
    return through[: free.runs], said


def _count_rows(look: Looking, drop: str, scratch: Path) -> int | None:
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


def _ask(
    look: Looking, candidates: list[str], commits: Mapping[str, str]
) -> tuple[list[Ask], list[str]]:
    """Write down what is asked for, and give back all that was asked for and has no run yet."""
    wanted = {drop: next_ask(drop, look.seen, look.asked) for drop in candidates}
    new = base_model.moved(commits, look.models, look.awaited)
    if look.pipeline.spec.automation.dry_run:
        named = [*look.awaited, *wanted]
        said = [f"Dry run: would run {reasons.names(named)}"] if named else []
        return [], [*said, *base_models.ask(look, new, wanted)[1]]
    if look.pipeline.spec.dataset.accumulate and not _write_changes(look, candidates):
        return [], [_ANOTHER_LOOK]
    asks, held_back = _asked_before(look)
    standing = look.ledger.move(wanted)
    look.awaited = sorted({*look.awaited, *standing})
    look.watched = {drop: one for drop, one in look.watched.items() if drop not in standing}
    look.asked |= standing
    begin = {drop: asked for drop, asked in standing.items() if not asked.seen}
    asks += [ask_for(drop, drop, asked) for drop, asked in begin.items()]
    for_models, said = base_models.ask(look, new, begin)
    asks += for_models
    scheduled = said_again(look.scheduled)
    if asks and bounded(look.pipeline) and not look.ledger.take(look.turn, scheduled):
        return [], [_ANOTHER_LOOK]  # what it has asked for was not counted here
    return asks, [*held_back, *said]


def _asked_before(look: Looking) -> tuple[list[Ask], list[str]]:
    """The runs that an earlier look has asked for and that were not seen; why some have to wait.

    They were let through then. But a drop may have been gone in between, with others run in its
    place, or another look may have asked at the same time: so they are let through once more.
    """
    asks = [
        *(
            ask_for(drop, drop, asked)
            for drop in sorted(look.awaited, key=natural_order)
            if drop in look.seen and not (asked := look.asked[drop]).seen
        ),
        *look.again,
    ]
    if not asks or not bounded(look.pipeline):
        return asks, []
    pipeline, instance = look.pipeline, look.instance
    free = room(pipeline, instance, look.now, look.begins_by_schedule)
    new = [ask for ask in asks if not made(instance, pipeline.spec.name, ask.run_key)]
    begin = [ask for ask in asks if ask not in new[free.runs :]]
    if one_at_a_time(pipeline):  # one that was made is launched by being asked for again
        begin = [] if look.scheduled or going_on(pipeline, instance) else begin[:1]
    later = reasons.names([ask.drop or DATASET for ask in asks if ask not in begin])
    return begin, [f"{later}: {free.reason or 'next in turn'}"] if later else []


def _write_changes(look: Looking, candidates: Iterable[str]) -> bool:
    changes = look.changes
    for drop in candidates:
        found = look.seen[drop]
        assert found is not None
        changes = changes.after_asking(drop, found.version.token, look.asked.get(drop))
    gone = [drop for drop in look.seen if drop not in look.watched]
    changes = changes.after_letting_through(look.through, gone)
    if changes == look.changes:
        return True
    return write_changes(look.instance.run_storage, look.pipeline.spec.name, changes)
