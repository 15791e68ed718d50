"""An artifact store in a folder: its layout, its staging folders, full disks and killed writers."""

# ruff: noqa: PT012 - the block that is tested is the one that publishes
from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.store import ArtifactStore
from resources.store.staging import _host

KEY = ["demo", "model"]


@pytest.fixture
def root(local_store) -> Path:
    return Path(local_store.root)


def publish(store: ArtifactStore, text: str, name: str = "model.bin"):
    with store.publish(KEY, None) as draft:
        (draft.path / name).parent.mkdir(exist_ok=True)
        (draft.path / name).write_text(text)
    return draft.artifact


def test_the_layout_is_one_folder_per_version_and_a_pointer(local_store, root):
    artifact = publish(local_store, "weights")

    home = root / "demo/model/_"
    version = home / "versions" / artifact.digest
    assert json.loads((home / "current.json").read_text()) == {"digest": artifact.digest}
    assert json.loads((version / "manifest.json").read_text())["key"] == KEY
    assert artifact.path == version / "files"
    assert artifact.uri == str(version / "files")


def test_a_relative_root_is_where_the_process_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    artifact = publish(ArtifactStore(root="store"), "weights")
    assert artifact.uri.startswith(str(tmp_path / "store"))


def test_a_version_without_its_manifest_is_no_artifact(local_store, root):
    artifact = publish(local_store, "weights")
    (artifact.path.parent / "manifest.json").unlink()
    assert local_store.find(KEY, None) is None

    publish(local_store, "weights")
    assert local_store.open(KEY, None).digest == artifact.digest


def test_a_damaged_pointer_says_so_and_publishing_again_repairs_it(local_store, root):
    artifact = publish(local_store, "weights")
    (root / "demo/model/_/current.json").write_text("{}")

    with pytest.raises(UserError, match=r"current.json is damaged: materialize"):
        local_store.open(KEY, None)
    publish(local_store, "weights")
    assert local_store.open(KEY, None) == artifact


def test_a_missing_file_is_found_and_publishing_again_repairs_it(local_store):
    artifact = publish(local_store, "weights", "deep/model.bin")
    artifact.file("deep/model.bin").unlink()

    assert local_store.verify(artifact) == ["deep/model.bin"]
    publish(local_store, "weights", "deep/model.bin")
    assert local_store.verify(artifact) == []


# --- taking files that are there already


def test_taking_moves_files_and_folders_without_copying(local_store, tmp_path):
    (tmp_path / "run/checkpoint").mkdir(parents=True)
    (tmp_path / "run/checkpoint/model.bin").write_text("weights")
    (tmp_path / "run/loss.svg").write_text("<svg/>")
    inode = (tmp_path / "run/checkpoint/model.bin").stat().st_ino

    with local_store.publish(KEY, None) as draft:
        draft.take(tmp_path / "run/checkpoint", "hf")
        draft.take(tmp_path / "run/loss.svg", "charts/loss.svg")

    assert draft.artifact.file("hf/model.bin").stat().st_ino == inode
    assert draft.artifact.file("charts/loss.svg").read_text() == "<svg/>"
    assert list((tmp_path / "run").iterdir()) == []


def test_what_was_taken_is_put_back_when_the_publication_fails(local_store, tmp_path):
    model = tmp_path / "checkpoint"
    model.mkdir()
    (model / "model.bin").write_text("hours of work")

    with pytest.raises(ZeroDivisionError), local_store.publish(KEY, None) as draft:
        draft.take(model, "hf")
        raise ZeroDivisionError
    with (
        pytest.raises(UserError, match="is a link"),
        local_store.publish(KEY, None) as draft,
    ):
        draft.take(model, "hf")
        (draft.path / "link").symlink_to("hf")

    assert (model / "model.bin").read_text() == "hours of work"


def test_taking_from_another_disk_copies_and_then_removes_the_source(local_store, small_disk):
    disk = small_disk("size=4m")
    (disk / "checkpoint").mkdir()
    (disk / "checkpoint/model.bin").write_text("weights")
    (disk / "loss.svg").write_text("<svg/>")

    with pytest.raises(ZeroDivisionError), local_store.publish(KEY, None) as draft:
        draft.take(disk / "checkpoint", "hf")
        raise ZeroDivisionError
    assert (disk / "checkpoint/model.bin").read_text() == "weights"

    with local_store.publish(KEY, None) as draft:
        draft.take(disk / "checkpoint", "hf")
        draft.take(disk / "loss.svg", "loss.svg")
    assert draft.artifact.file("hf/model.bin").read_text() == "weights"
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "../x", "/etc/x", "a//b", "a/../b"])
def test_taking_under_a_name_outside_the_draft_is_refused(local_store, tmp_path, name):
    (tmp_path / "x").write_text("x")
    with (
        pytest.raises(UserError, match="not a relative path"),
        local_store.publish(KEY, None) as draft,
    ):
        draft.take(tmp_path / "x", name)
    assert (tmp_path / "x").exists()


def test_taking_refuses_links_missing_files_and_names_in_use(local_store, tmp_path):
    (tmp_path / "x").write_text("x")
    (tmp_path / "link").symlink_to("x")
    with local_store.publish(KEY, None) as draft:
        with pytest.raises(UserError, match="link or does not exist"):
            draft.take(tmp_path / "link", "a")
        with pytest.raises(UserError, match="link or does not exist"):
            draft.take(tmp_path / "absent", "a")
        (draft.path / "a").write_text("mine")
        with pytest.raises(UserError, match="nothing is overwritten"):
            draft.take(tmp_path / "x", "a")


# --- killed publishers


@pytest.mark.parametrize("rename", [1, 2], ids=["version", "pointer"])
def test_a_publisher_killed_at_either_rename_changes_nothing_for_readers(
    local_store, root, in_child, kill_before, rename
):
    publish(local_store, "old")

    def dies() -> None:
        with local_store.publish(KEY, None) as draft:
            (draft.path / "model.bin").write_text("new")
            kill_before("os.rename", rename)

    assert in_child(dies) == -signal.SIGKILL

    assert local_store.open(KEY, None).file("model.bin").read_text() == "old"
    publish(local_store, "new")
    assert local_store.open(KEY, None).file("model.bin").read_text() == "new"
    assert list((root / ".staging").iterdir()) == []


def test_the_draft_of_a_living_process_is_left_alone(local_store, root):
    with local_store.publish(KEY, None) as slow:
        (slow.path / "model.bin").write_text("slow")
        publish(local_store, "quick")
        assert slow.path.exists()
    assert local_store.open(KEY, None).file("model.bin").read_text() == "slow"


def test_a_draft_older_than_its_process_belongs_to_a_former_one_of_that_number(local_store, root):
    since_before_this_process = time.time() - time.process_time() - 10 * 365 * 24 * 3600
    left = root / ".staging" / f"{_host()}~{os.getpid()}~{'0' * 32}"
    left.mkdir(parents=True)
    os.utime(left, (since_before_this_process, since_before_this_process))

    publish(local_store, "new")
    assert not left.exists()


@pytest.mark.parametrize(("days", "stays"), [(1, True), (3, False)])
def test_drafts_of_other_hosts_go_when_nothing_was_written_for_two_days(
    local_store, root, days, stays
):
    left = root / ".staging" / f"elsewhere~1~12345~{'0' * 32}"
    (left / "version/files").mkdir(parents=True)
    (left / "version/files/model.bin").write_text("weights")
    age(left, 10 * 24 * 3600)
    os.utime(left / "version/files/model.bin", (time.time() - days * 24 * 3600,) * 2)

    publish(local_store, "new")
    assert left.exists() is stays


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then))


# --- concurrency


def publish_many(root: str, number: int) -> None:
    store = ArtifactStore(root=root)
    for round_ in range(5):
        publish(store, f"weights {number} {round_ % 2}")


def test_processes_that_publish_at_once_never_tear_what_a_reader_sees(local_store, root):
    publish(local_store, "first")
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=publish_many, args=(str(root), n)) for n in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert local_store.verify(local_store.open(KEY, None)) == []
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert local_store.verify(local_store.open(KEY, None)) == []
    assert list((root / ".staging").iterdir()) == []


# --- full disks


def test_a_disk_that_is_full_while_writing_says_what_is_free_and_needed(small_disk):
    root = small_disk("size=4m")
    store = ArtifactStore(root=str(root))
    publish(store, "x" * 3_000_000)

    with (
        pytest.raises(
            UserError,
            match=r"disk full while publishing demo/model: .* has 1\.\d MB "
            r"free, needed about 3\.0 MB; free space or set FT_HOME",
        ),
        store.publish(KEY, None) as draft,
    ):
        (draft.path / "model.bin").write_bytes(b"y" * 3_000_000)

    assert list((root / ".staging").iterdir()) == []
    assert store.open(KEY, None).file("model.bin").stat().st_size == 3_000_000


def test_an_estimate_that_would_fit_is_not_said_to_be_what_is_needed(small_disk):
    store = ArtifactStore(root=str(small_disk("size=2m")))
    publish(store, "a small one")
    with (
        pytest.raises(UserError, match=r" has 2\.\d MB free, needed more; free space"),
        store.publish(KEY, None) as draft,
    ):
        (draft.path / "model.bin").write_bytes(b"y" * 3_000_000)


@pytest.mark.parametrize("wrap", [RuntimeError, ValueError])
def test_a_full_disk_is_recognised_inside_a_librarys_own_exception(small_disk, wrap):
    store = ArtifactStore(root=str(small_disk("size=1m")))
    with pytest.raises(UserError, match="disk full"), store.publish(KEY, None) as draft:
        try:
            (draft.path / "model.bin").write_bytes(b"y" * 3_000_000)
        except OSError as error:
            raise wrap("cannot save the model") from error


def test_a_full_disk_under_safetensors_is_recognised(small_disk):
    import numpy as np
    from safetensors.numpy import save_file

    store = ArtifactStore(root=str(small_disk("size=1m")))
    with pytest.raises(UserError, match="disk full"), store.publish(KEY, None) as draft:
        save_file({"w": np.zeros(1_000_000, np.float32)}, draft.path / "model.safetensors")


def test_a_disk_that_is_full_at_the_last_step_publishes_nothing(small_disk, tmp_path):
    """No inode is left for the version's folder, when every file is written and hashed."""
    root = small_disk("size=4m,nr_inodes=14")
    store = ArtifactStore(root=str(root))
    fillers = []
    with (
        pytest.raises(UserError, match="disk full while publishing demo/model"),
        store.publish(KEY, None) as draft,
    ):
        (draft.path / "model.bin").write_text("weights")
        fillers = fill_inodes(root, leave=2)  # for the manifest and the pointer

    assert list((root / ".staging").iterdir()) == []
    assert store.find(KEY, None) is None
    for filler in fillers:
        filler.unlink()
    assert publish(store, "weights").file("model.bin").read_text() == "weights"


def fill_inodes(root: Path, *, leave: int) -> list[Path]:
    fillers = [root / f"filler-{number}" for number in range(os.statvfs(root).f_favail - leave)]
    for filler in fillers:
        filler.touch()
    return fillers


def test_a_full_disk_somewhere_else_is_not_blamed_on_the_store(local_store, small_disk):
    elsewhere = small_disk("size=1m,nr_inodes=2")
    (elsewhere / "last").touch()
    with pytest.raises(OSError, match="No space left") as error, local_store.publish(KEY, None):
        (elsewhere / "more").touch()
    assert error.value.errno == errno.ENOSPC


def test_a_root_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(UserError, match=r"cannot write to .*file.* name a folder"),
        ArtifactStore(root=str(tmp_path / "file")).publish(KEY, None),
    ):
        pass
