"""``ft registry``: models, versions, and one version in full."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from ft_assets.cli.output import show
from ft_assets.definitions import default_resources
from resources.errors import UserError
from resources.registry import RegisteredVersion, Registry


def _registry() -> Registry:
    return default_resources()["registry"]


def list_models(*, as_json: bool) -> None:
    """All models and their champions."""
    models = _registry().list_models()

    def text(console: Console) -> None:
        table = Table("model", "champion", "state", "updated")
        for model in models:
            table.add_row(model.name, model.champion or "", model.state, model.updated_at)
        console.print(table if models else "The registry is empty: run a pipeline first.")

    show({"models": [asdict(model) for model in models]}, text, as_json=as_json)


def list_versions(model: str, *, as_json: bool) -> None:
    """All versions of a model, newest first."""
    versions = _registry().list_versions(model)

    def text(console: Console) -> None:
        table = Table("version", "stage", "held-out loss", "base", "drop", "registered")
        for version in versions:
            properties = version.properties
            table.add_row(
                version.version,
                version.stage,
                _number(properties.get("held_out_loss")),
                _number(properties.get("base_held_out_loss")),
                str(properties.get("partition", "")),
                version.created_at,
            )
        console.print(table)

    result = {"model": model, "versions": [_as_dict(version) for version in versions]}
    show(result, text, as_json=as_json)


def show_version(model: str, version: str | None, *, as_json: bool) -> None:
    """One version in full."""
    registry = _registry()
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


def _as_dict(version: RegisteredVersion) -> dict[str, Any]:
    values = asdict(version)
    values.pop("created")
    return values


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ""
