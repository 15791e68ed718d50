"""``ft export``: a model as a folder that a hub takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.console import Console

from ft_assets.cli.output import command, json_option, show, stdout_is_for_results
from ft_assets.config import Pipeline, find_recipes
from ft_assets.export.gguf import TYPES
from resources.errors import UserError

if TYPE_CHECKING:
    from ft_assets.export.subject import Subject
    from resources.store import ArtifactStore


@click.command("export")
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--link", is_flag=True, help="Hard links in place of copies: edit nothing then.")
@click.option("--kserve", is_flag=True, help="Also write a KServe InferenceService manifest.")
@click.option("--storage-uri", help="With --kserve: where pods find the model (pvc://CLAIM/PATH).")
@click.option(
    "--gguf",
    "gguf_type",
    is_flag=False,
    flag_value="f16",
    type=click.Choice(TYPES),
    help="Also convert to GGUF, as f16 when no type is given; needs llama.cpp's converter.",
)
@click.option("--license", "license_id", help="Licence for the card, as the hub names it.")
@click.option(
    "--license-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Text of the licence, copied as LICENSE.",
)
@click.option("--language", "languages", multiple=True, help="Language for the card: en.")
@json_option
@command
def export(
    *,
    model: str,
    folder: Path,
    link: bool,
    kserve: bool,
    storage_uri: str | None,
    gguf_type: str | None,
    license_id: str | None,
    license_file: Path | None,
    languages: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a model to FOLDER, as a hub takes it: weights, tokenizer, card and provenance.

    MODEL is a registered model, MODEL[:VERSION] (its champion without a version), or a pipeline's
    newest one, PIPELINE[@DROP].
    """
    from ft_assets.cards import CARD_FILE, model_card_of
    from ft_assets.code_location import default_resources
    from ft_assets.export import gguf
    from ft_assets.export import kserve as serving
    from ft_assets.export.folder import (
        bytes_needed,
        listing,
        refuse_used,
        write_model,
        write_provenance,
        written_beside,
    )

    if storage_uri is not None and not kserve:
        raise UserError("--storage-uri is for --kserve: give both or none")
    target = folder.expanduser().absolute()
    refuse_used(target)
    start = gguf.converter() if gguf_type is not None else []
    store: ArtifactStore = default_resources()["store"]
    subject = _subject(model, store)
    uri = serving.storage_uri(subject, storage_uri) if kserve else ""
    card = model_card_of(
        store,
        subject.model,
        subject.report,
        name=subject.name,
        version=subject.version,
        description=subject.description,
        license_id=license_id,
        languages=languages,
        hardware=subject.hardware,
    )
    size = bytes_needed(subject.model, link=link, copies=2 if start else 1)
    with written_beside(target, size) as draft:
        write_model(subject.model, draft, link=link)
        if gguf_type is not None:
            name = f"{serving.service_name(subject.name)}-{gguf_type}.gguf"
            gguf.write_gguf(start, draft, draft / name, gguf_type)
        (draft / CARD_FILE).write_text(card, encoding="utf-8")
        write_provenance(store, subject, draft, license_file)
        if kserve:
            service = serving.inference_service(subject, uri)
            (draft / serving.MANIFEST_FILE).write_text(yaml.safe_dump(service, sort_keys=False))
    _show(subject, target, dict(listing(target)), as_json=as_json)


def _subject(words: str, store: ArtifactStore) -> Subject:
    from ft_assets.code_location import default_resources
    from ft_assets.export.subject import find_subject

    resources = default_resources()

    def newest(pipeline: Pipeline) -> str:
        from ft_assets.automation.partitions import newest_drop
        from ft_assets.running import open_instance

        with stdout_is_for_results(), open_instance() as instance:
            return newest_drop(pipeline, resources["sources"], instance)

    return find_subject(
        words,
        store=store,
        registries=resources["registry"],
        pipelines=list(find_recipes().values()),
        newest_drop=newest,
    )


def _show(subject: Subject, target: Path, files: dict[str, int], *, as_json: bool) -> None:
    result: dict[str, Any] = {
        "model": subject.name,
        "version": subject.version,
        "digest": subject.model.data_version,
        "folder": str(target),
        "files": files,
    }

    def text(console: Console) -> None:
        size = sum(files.values())
        console.print(
            f"{subject.label}: {len(files)} files, {size / 1e6:,.1f} MB, in {target}",
            soft_wrap=True,
        )
        console.print(f"To a hub: hf upload ORGANIZATION/{subject.name} {target}", soft_wrap=True)

    show(result, text, as_json=as_json)
