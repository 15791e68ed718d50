"""``ft registry``: models, versions, one version in full; which version is champion, and why.

``promote``, ``rollback`` and ``history`` are commands by themselves; ``main.py`` puts them and the
functions here under ``ft registry``.
"""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ft_assets.cli.output import command, json_option, show
from ft_assets.config import find_recipes
from resources.errors import UserError

if TYPE_CHECKING:
    from resources.registry import KeepsHistory, RegisteredVersion, Registry

_NO_HISTORY = "this registry keeps no history of its champions"


def registries() -> dict[str, Registry]:
    """All registries that the pipelines name, by their names in words."""
    from ft_assets.code_location import default_resources
    from resources.registry import RegistrySettings, open_registry

    hub = default_resources()["registry"]
    settings = [pipeline.spec.registry.settings() for pipeline in find_recipes().values()]
    return {each.where: open_registry(hub, each) for each in settings or [RegistrySettings()]}


def registry_of(model: str) -> Registry:
    """The registry of the pipelines that register a model; of a model that none names, the one that
    has it.

    Raises:
        UserError: it could be more than one.
    """
    known = registries()
    named = {
        pipeline.spec.registry.settings().where
        for pipeline in find_recipes().values()
        if pipeline.spec.registry.name == model
    }
    found = named or set(known)
    if len(found) > 1:
        having = {where for where in found if _has(known[where], model)}
        if len(having) != 1:
            raise UserError(
                f"model {model!r} is in {'several' if having else 'none'} of the registries of "
                f"the pipelines ({', '.join(sorted(having or found))}): set FT_PIPELINES to a "
                "folder with the pipeline files of one of them"
            )
        found = having
    return known[found.pop()]


def _has(registry: Registry, model: str) -> bool:
    return any(each.name == model for each in registry.list_models())


def list_models(*, as_json: bool) -> None:
    """All models and their champions."""
    found = [(where, registry.list_models()) for where, registry in registries().items()]
    models = [(where, model) for where, listed in found for model in listed]

    def text(console: Console) -> None:
        table = Table("model", "champion", "state", "updated", "registry")
        for where, model in models:
            table.add_row(model.name, model.champion or "", model.state, model.updated_at, where)
        console.print(table if models else "The registry is empty: run a pipeline first.")

    result = {"models": [{**asdict(model), "registry": where} for where, model in models]}
    show(result, text, as_json=as_json)


def list_versions(model: str, *, as_json: bool) -> None:
    """All versions of a model, newest first."""
    versions = registry_of(model).list_versions(model)

    def text(console: Console) -> None:
        table = Table("version", "stage", "held-out loss", "base", "drop", "verdict", "registered")
        for version in versions:
            properties = version.properties
            table.add_row(
                version.version,
                version.stage,
                _number(properties.get("held_out_loss")),
                _number(properties.get("base_held_out_loss")),
                str(properties.get("partition", "")),
                str(properties.get("verdict", "")),
                version.created_at,
            )
        console.print(table)

    result = {"model": model, "versions": [_as_dict(version) for version in versions]}
    show(result, text, as_json=as_json)


def show_version(model: str, version: str | None, *, as_json: bool) -> None:
    """One version in full."""
    registry = registry_of(model)
    found = registry.get(model, version) if version is not None else registry.champion(model)
    if found is None:
        raise UserError(f"model {model!r} has no champion: name a version (ft registry list)")

    def text(console: Console) -> None:
        table = Table(title=f"{found.model} {found.version}", show_header=False)
        table.add_column()
        table.add_column(overflow="fold")
        table.add_row("stage", found.stage)
        table.add_row("artifact", found.artifact.uri)
        table.add_row("digest", found.artifact.digest)
        table.add_row("author", found.author)
        table.add_row("description", found.description)
        table.add_row("registered", found.created_at)
        for name, value in sorted(found.properties.items()):
            table.add_row(name, str(value))
        console.print(table)

    show(_as_dict(found), text, as_json=as_json)


_why = click.option("--why", required=True, help="The reason; kept in the registry.")
_by = click.option("--by", help="Who decides; the user of this session when not given.")


@click.command("promote")
@click.argument("model")
@click.argument("version")
@_why
@_by
@json_option
@command
def promote(*, model: str, version: str, why: str, by: str | None, as_json: bool) -> None:
    """Make a registered version the champion of its model."""
    person, reason, registry = _person(by), _reason(why), registry_of(model)
    before = registry.champion(model)
    keeper = _keeper(registry)
    if keeper is not None:
        after = keeper.promote(model, version, by=person, why=reason)
    else:
        after = registry.set_champion(model, version)
    _record(before, after, by=person, why=reason)
    _show_change(before, after, as_json=as_json)


@click.command("rollback")
@click.argument("model")
@click.argument("version", required=False)
@_why
@_by
@json_option
@command
def rollback(*, model: str, version: str | None, why: str, by: str | None, as_json: bool) -> None:
    """Go back to the champion before, or to VERSION, a champion before that."""
    person, reason, registry = _person(by), _reason(why), registry_of(model)
    before = registry.champion(model)
    keeper = _keeper(registry)
    if keeper is not None:
        after = keeper.rollback(model, version, by=person, why=reason)
    elif version is not None:
        after = registry.set_champion(model, version)
    else:
        raise UserError(f"{_NO_HISTORY}: name the version to go back to (ft registry list {model})")
    _record(before, after, by=person, why=reason)
    _show_change(before, after, as_json=as_json)


@click.command("history")
@click.argument("model")
@json_option
@command
def history(*, model: str, as_json: bool) -> None:
    """Show who was champion when, and why."""
    keeper = _keeper(registry_of(model))
    if keeper is None:
        raise UserError(
            f"{_NO_HISTORY}; what `ft registry promote` and `ft registry rollback` did stands in "
            "Dagster's UI, at the events of registered_version"
        )
    changes = keeper.history(model)

    def text(console: Console) -> None:
        table = Table("when", "version", "how", "by", "why")
        for change in changes:
            table.add_row(change.at, change.version, change.act, change.by, change.why)
        console.print(table)

    show({"model": model, "history": [asdict(change) for change in changes]}, text, as_json=as_json)


def _keeper(registry: Registry) -> KeepsHistory | None:
    """The registry, where it is one that keeps a history."""
    from resources.registry import KeepsHistory

    return registry if isinstance(registry, KeepsHistory) else None


def _record(
    before: RegisteredVersion | None, after: RegisteredVersion, *, by: str, why: str
) -> None:
    """Tell Dagster, so that the page of the asset has it, whatever the registry keeps."""
    import dagster as dg

    from ft_assets.running import open_instance

    former = before.version if before is not None else None
    keys = [
        dg.AssetKey(pipeline.spec.key("registered_version"))
        for pipeline in find_recipes().values()
        if pipeline.spec.registry.name == after.model
    ]
    if former == after.version or not keys:
        return
    said = {
        "champion_before": former or "none",
        "champion_after": after.version,
        "changed_by": by,
        "why": why,
    }
    with open_instance() as instance:
        for key in keys:
            instance.report_runless_asset_event(dg.AssetObservation(key, metadata=said))


def _show_change(
    before: RegisteredVersion | None, after: RegisteredVersion, *, as_json: bool
) -> None:
    former = before.version if before is not None else None
    said = (
        f"{after.model} {after.version} was the champion already."
        if former == after.version
        else f"{after.model} {after.version} is the champion; {former or 'none'} was."
    )
    show(
        {"model": after.model, "champion": after.version, "champion_before": former},
        lambda console: console.print(said),
        as_json=as_json,
    )


def _person(by: str | None) -> str:
    return by.strip() if by and by.strip() else getpass.getuser()


def _reason(why: str) -> str:
    if not why.strip():
        raise UserError("--why is empty: say in a sentence why the champion changes")
    return why.strip()


def _as_dict(version: RegisteredVersion) -> dict[str, Any]:
    values = asdict(version)
    values.pop("created")
    return values


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ""
