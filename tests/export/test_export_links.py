"""An export by hard links never writes into what is published."""

from __future__ import annotations

from pathlib import Path

from ft_assets.export.folder import write_model, write_provenance
from ft_assets.export.subject import Subject
from resources.store import Artifact, ArtifactStore


def publish(store: ArtifactStore, files: dict[str, str]) -> Artifact:
    with store.publish(["mine", "finetuned_model"], None) as draft:
        for name, content in files.items():
            (draft.path / name).parent.mkdir(parents=True, exist_ok=True)
            (draft.path / name).write_text(content)
    assert draft.artifact is not None
    return draft.artifact


def subject_of(model: Artifact) -> Subject:
    return Subject(
        name="mine",
        version=None,
        description="",
        model=model,
        report=None,
        registration=None,
        hardware={},
    )


def test_a_licence_of_ones_own_leaves_the_published_one_as_it_is(tmp_path: Path):
    store = ArtifactStore(root=str(tmp_path / "store"))
    manifest = "provenance/finetuned_model.manifest.json"
    model = publish(store, {"model/LICENSE": "of the model", f"model/{manifest}": "of the model"})
    out, mine = tmp_path / "out", tmp_path / "mine"
    out.mkdir()
    mine.write_text("of one's own")

    write_model(model, out, link=True)
    assert (out / "LICENSE").stat().st_ino == model.file("model/LICENSE").stat().st_ino
    write_provenance(store, subject_of(model), out, mine)

    assert (out / "LICENSE").read_text() == "of one's own"
    assert (out / manifest).read_text() != "of the model"
    for file in model.manifest.files:
        assert model.file(file.path).read_text() == "of the model"
    assert sorted(path.name for path in out.iterdir()) == ["LICENSE", "provenance"]
