"""A trained, evaluated and registered model: verified whole, and flipped byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from ft_assets.config.load import load_pipeline
from ft_assets.provenance.verify import KnownPipeline, Surroundings, verify_version
from ft_assets.training.base_model import MODEL_FILES
from resources.registry import EmbeddedRegistry
from resources.sources import Sources
from tests.provenance.conftest import Keys, make_keys
from tests.support.flips import flipped
from tests.support.tiny_pipeline import MODEL_NAME, NAME, TinyPipeline, make_tiny_pipeline

pytestmark = pytest.mark.slow
_WALKED = {"raw_dataset", "split_dataset", "finetuned_model", "eval_report", "registered_version"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def registered(tmp_path_factory, keys) -> TinyPipeline:
    """One run of a pipeline with a key. A test that changes something puts it back."""
    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp("tiny"))
    ran = pipeline.ft(
        "run",
        NAME,
        "--partition",
        "drop-1",
        "--json",
        environment={"FT_SIGNING_KEY": str(keys.private)},
    )
    assert ran.exit_code == 0, ran.stderr
    return pipeline


def walk(pipeline: TinyPipeline, keys: Keys):
    row = EmbeddedRegistry(path=str(pipeline.home / "registry.db")).champion(MODEL_NAME)
    assert row is not None
    spec = load_pipeline(pipeline.file).spec
    around = Surroundings(
        store=pipeline.store.backend,
        sources=Sources(data_roots=[str(pipeline.data)]),
        pipelines={NAME: KnownPipeline(pipeline.file.parent, spec.digest)},
        key=keys.verifying,
    )
    return verify_version(row, around)


def test_the_whole_chain_is_walked_and_holds(registered, keys):
    verified = walk(registered, keys)
    assert verified.first_broken is None
    walked = {
        link.subject.split("/")[1].split("@")[0] for link in verified.links if link.check == "files"
    }
    assert walked >= _WALKED
    held = {link.check for link in verified.links if link.status == "holds"}
    assert {"registration", "registered digest", "signature", "model signature"} <= held
    assert {"base model", "source files", "configuration", "data version"} <= held
    assert not [
        link for link in verified.links if link.check == "data version" and link.status != "holds"
    ]


def test_a_flip_of_any_file_is_found_and_named(registered, keys):
    for file, named in _files(registered):
        with flipped(file, file.stat().st_size // 2):
            first = walk(registered, keys).first_broken
        assert first is not None, file
        assert first.file == str(named), file


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6, 0.9])
def test_a_flip_in_the_registration_is_not_taken_for_one_in_the_registry(registered, keys, part):
    file = registered.artifact("registered_version").file("registration.json")
    with flipped(file, int(file.stat().st_size * part)):
        first = walk(registered, keys).first_broken
    assert first is not None
    assert first.file == str(file)


def _files(pipeline: TinyPipeline) -> list[tuple[Path, Path]]:
    """Every file behind the model, and what is to be named when it is flipped."""
    found: list[tuple[Path, Path]] = []
    for asset in sorted(_WALKED):
        artifact = pipeline.artifact(asset)
        manifest = artifact.path.parent / "manifest.json"
        own = [artifact.path / file.path for file in artifact.manifest.files if file.size]
        found += [(file, file) for file in [*own, manifest]]
    base = (pipeline.root / "base-model").resolve()
    found += [(file, base) for pattern in MODEL_FILES for file in sorted(base.glob(pattern))]
    source = pipeline.data / "drop-1.jsonl"
    return [*found, (source, source)]
