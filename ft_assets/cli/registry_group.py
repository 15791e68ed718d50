"""``ft registry`` and its commands; what they do stands in ``registry.py``."""

from __future__ import annotations

import click

from ft_assets.cli.output import Commands, command, json_option


@click.group(
    cls=Commands,
    later={name: f"ft_assets.cli.registry:{name}" for name in ("history", "promote", "rollback")},
)
def registry() -> None:
    """Look into the model registry; choose which version is the champion."""


@registry.command("list")
@click.argument("model", required=False)
@json_option
@command
def registry_list(*, model: str | None, as_json: bool) -> None:
    """List the models, or the versions of one."""
    from ft_assets.cli.registry import list_models, list_versions

    if model is None:
        list_models(as_json=as_json)
    else:
        list_versions(model, as_json=as_json)


@registry.command("show")
@click.argument("model")
@click.argument("version", required=False)
@json_option
@command
def registry_show(*, model: str, version: str | None, as_json: bool) -> None:
    """Show a version of a model; its champion without one."""
    from ft_assets.cli.registry import show_version

    show_version(model, version, as_json=as_json)
