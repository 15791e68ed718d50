"""The base models in one look: what is asked for again, and what a new commit asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ft_assets.automation.new_data import base_model, reasons
from ft_assets.automation.new_data.ledger import Asked
from ft_assets.automation.new_data.limits import room
from ft_assets.automation.new_data.looking import Ask, Looking, ask_for
from resources.errors import UserError


def commits_now(look: Looking) -> tuple[dict[str, str], list[str]]:
    """The base models' commits; a hub that does not answer stops nothing else."""
    if not look.pipeline.spec.automation.watch_base_model:
        return {}, []
    return base_model.revisions(base_model.base_models(look.pipeline), look.place.sources)


def take_in(look: Looking, commits: Mapping[str, str]) -> list[str]:
    """Read what was asked for of the base models; what is to say of what cannot be asked again.

    Runs that are asked for again count with those that are awaited: they were let through.
    """
    if not look.pipeline.spec.automation.watch_base_model:
        return []
    rows = [base_model.row_of(model) for model in base_model.base_models(look.pipeline)]
    look.models = look.confirmed(look.ledger.read(rows))
    look.models |= look.ledger.move(base_model.first_seen(commits, look.models))
    waiting = {row: one for row, one in look.models.items() if not (one.seen or one.by)}
    if not waiting or look.pipeline.spec.automation.dry_run:
        return []
    try:
        drop = base_model.newest_complete(look.place, look.ledger, look.changes, ())
    except UserError as error:
        return [_unreachable(waiting, error)]
    if drop is None:
        return [reasons.new_commits(base_model.names_of(waiting), "no drop is complete yet")]
    look.again = [ask_for(drop, row, one) for row, one in waiting.items()]
    return []


def ask(
    look: Looking, new: dict[str, Asked], asked_now: Collection[str]
) -> tuple[list[Ask], list[str]]:
    """A run of the newest complete drop for each base model that has a new commit.

    The ledger moves last: what stops a commit now does not keep the next look from it.
    """
    if not new:
        return [], []
    models = base_model.names_of(new)
    try:
        drop = base_model.newest_complete(look.place, look.ledger, look.changes, asked_now)
    except UserError as error:
        return [], [_unreachable(new, error)]
    if drop is None:
        return [], [reasons.new_commits(models, "no drop is complete yet")]
    if look.pipeline.spec.automation.dry_run:
        would = f"dry run: would run {reasons.names([drop])}"
        return [], [] if drop in asked_now else [reasons.new_commits(models, would)]
    if drop in asked_now:  # its run begins after this look, and takes the new commit
        by = look.asked[drop].run_key(drop)
        look.ledger.move({row: replace(one, by=by) for row, one in new.items()})
        return [], []
    free = room(look.pipeline, look.instance, look.now, look.begins)
    later = base_model.names_of([*new][free.runs :])
    said = [reasons.new_commits(later, free.reason or "next in turn")] if later else []
    asked = look.ledger.move(dict([*new.items()][: free.runs]))
    begin = {row: one for row, one in asked.items() if not (one.seen or one.by)}
    return [ask_for(drop, row, one) for row, one in begin.items()], said


def _unreachable(rows: Collection[str], error: UserError) -> str:
    why = f"the source could not be looked at: {error}"
    return reasons.new_commits(base_model.names_of(rows), why)
