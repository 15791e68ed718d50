"""``ft verify``: whether a model, or any artifact, is what its records say."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ft_assets.cli.output import command, json_option, show
from ft_assets.config import find_recipes
from ft_assets.provenance.artifact_links import Place
from ft_assets.provenance.keys import verify_key
from ft_assets.provenance.links import Link, Verified
from ft_assets.provenance.verify import (
    KnownPipeline,
    Surroundings,
    verify_artifact,
    verify_version,
)
from resources.errors import UserError
from resources.store import ArtifactStore
from resources.store.manifest import decode_manifest

_COLOURS = {"holds": "green", "broken": "red", "not checked": "yellow"}


@click.command("verify")
@click.argument("subject", metavar="MODEL[:VERSION]|PIPELINE/ASSET[@DROP]|FOLDER")
@click.option("--key", help="PEM file of the public key; FT_VERIFY_KEY when not given.")
@json_option
@command
def verify(*, subject: str, key: str | None, as_json: bool) -> None:
    """Recompute every digest from a model back to its sources, offline.

    SUBJECT is a registered model (its champion, or a version), an artifact of a pipeline, or the
    folder of an artifact. Exit status 1 when a link is broken.
    """
    # Here, where a pipeline file that is not valid is one message.
    from ft_assets.cli.registry import registry_of
    from ft_assets.code_location import default_resources

    public = verify_key(key)
    resources = default_resources()
    store: ArtifactStore = resources["store"]
    place: Place | None = None
    if subject.startswith(("/", "./", "../", "~")):
        folder = Path(subject).expanduser().absolute()
        found = store.backend.place_of(str(folder))
        store, place = (store, Place(*found)) if found else _of_folder(folder)
    elif "/" in subject:
        place = _of_asset(store, subject)
    around = Surroundings(
        store=store.backend,
        sources=resources["sources"],
        pipelines={
            label: KnownPipeline(pipeline.folder, pipeline.spec.digest)
            for label, pipeline in find_recipes().items()
        },
        key=public,
    )
    if place is not None:
        verified = verify_artifact(place, around)
    else:
        model, _, version = subject.partition(":")
        registry = registry_of(model)
        row = registry.get(model, version) if version else registry.champion(model)
        if row is None:
            raise UserError(f"model {model!r} has no champion: name a version (ft registry list)")
        verified = verify_version(row, around)
    show(verified.as_dict(), lambda console: _print(verified, console), as_json=as_json)
    if not verified.passed:
        sys.exit(1)


def _of_asset(store: ArtifactStore, subject: str) -> Place:
    """The current artifact of ``PIPELINE/ASSET[@DROP]``."""
    name, _, partition = subject.partition("@")
    artifact = store.open(name.split("/"), partition or None)
    return Place(artifact.key, artifact.partition, artifact.digest)


def _of_folder(folder: Path) -> tuple[ArtifactStore, Place]:
    """The artifact at, or around, a folder, and the store that the folder lies in."""
    possible: list[tuple[ArtifactStore, Place]] = []
    for root in folder.parents:
        store = ArtifactStore(root=str(root))
        found = store.backend.place_of(str(folder))
        if found is not None and len(found[0]) in _KEY_PARTS:
            possible.append((store, Place(*found)))
    for store, place in possible:
        if _says_so(store, place):
            return store, place
    if possible:  # its manifest is damaged: the walk says how
        return possible[0]
    raise UserError(
        f"{folder} is no artifact's folder: name .../PIPELINE/ASSET/DROP/versions/DIGEST, or a "
        "folder in it"
    )


_KEY_PARTS = (2, 3)  # pipeline, recipe where there is one, and asset


def _says_so(store: ArtifactStore, place: Place) -> bool:
    """Whether the manifest there is of this asset: a recipe's could be of a pipeline as well."""
    try:
        content = store.backend.read_manifest(place.key, place.partition, place.digest)
        return content is not None and decode_manifest(content, place.name).key == place.key
    except UserError:
        return False


def _print(verified: Verified, console: Console) -> None:
    table = Table("", "subject", "check", "found")
    for link in verified.links:
        mark = f"[{_COLOURS[link.status]}]{link.status}[/]"
        table.add_row(mark, link.subject, link.check, link.detail)
    console.print(table)
    first = verified.first_broken
    unchecked = verified.count("not checked")
    rest = f"; {unchecked} could not be checked" if unchecked else ""
    if first is None:
        console.print(f"{verified.subject}: {verified.count('holds')} links hold{rest}.")
        return
    console.print(f"{verified.subject}: broken at {first.subject}{rest}.", style="red")
    for line in _first_broken(first):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _first_broken(link: Link) -> list[str]:
    return [
        f"  {link.check}: {link.detail}",
        f"  file: {link.file}",
        *([f"  expected: {link.expected}"] if link.expected else []),
        *([f"  found: {link.found}"] if link.found else []),
    ]
