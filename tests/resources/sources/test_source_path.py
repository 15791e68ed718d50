"""Local datasets: read where they lie, and only below the allowed roots."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.sources import files, path
from resources.sources.files import Fetched, SizeLimit, SourceUnavailableError
from resources.sources.uri import PathUri, PvcUri

ROW = b'{"messages": []}\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def read(uri: str, root: Path, max_bytes: int = 0) -> Fetched:
    roots = path.data_roots([str(root)])
    found, roots = path.locate(PathUri(uri), roots, "", base_dir=root)
    return path.fetch(found, roots, uri, SizeLimit(max_bytes))


def test_a_file_is_read_in_place_with_its_digest(root: Path):
    (root / "a.jsonl").write_bytes(ROW)
    (file,) = read("a.jsonl", root).files
    assert file.path == root / "a.jsonl"
    assert (file.name, file.size, file.etag) == ("a.jsonl", len(ROW), None)
    assert file.sha256 == hashlib.sha256(ROW).hexdigest()


def test_a_folder_gives_its_dataset_files_in_name_order(root: Path):
    for name in ("b.jsonl", "sub/c.json.zst", "a.parquet", "notes.txt", ".hidden.jsonl"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(ROW)
    assert [f.name for f in read(str(root), root).files] == [
        "a.parquet",
        "b.jsonl",
        "sub/c.json.zst",
    ]


def test_linked_folders_are_read_once(root: Path):
    (root / "data").mkdir()
    (root / "data/a.jsonl").write_bytes(ROW)
    (root / "data/loop").symlink_to(root / "data")
    assert [f.name for f in read("data", root).files] == ["a.jsonl"]


def test_a_missing_file_says_so(root: Path):
    with pytest.raises(UserError, match=r"a\.jsonl: there is no such file or folder \(looked for"):
        read("a.jsonl", root)


def test_a_forgotten_hub_scheme_is_suggested(root: Path):
    with pytest.raises(UserError, match="write hf://org/chats"):
        read("org/chats", root)


def test_an_empty_folder_says_what_would_be_read(root: Path):
    (root / "notes.txt").write_text("none")
    with pytest.raises(UserError, match=r"holds no dataset file; one ends in \.jsonl"):
        read(str(root), root)


def test_an_unknown_file_type_is_refused(root: Path):
    (root / "a.csv").write_text("x")
    with pytest.raises(UserError, match="unknown file type"):
        read("a.csv", root)


@pytest.mark.parametrize("uri", ["../outside.jsonl", "sub/../../outside.jsonl", "/etc/passwd"])
def test_a_path_cannot_leave_the_roots(root: Path, uri: str):
    (root.parent / "outside.jsonl").write_bytes(ROW)
    with pytest.raises(UserError, match=f"outside the allowed roots .*{root}.*FT_DATA_ROOTS"):
        read(uri, root)


def test_a_link_cannot_leave_the_roots(root: Path):
    (root.parent / "outside.jsonl").write_bytes(ROW)
    (root / "a.jsonl").symlink_to(root.parent / "outside.jsonl")
    for uri in ("a.jsonl", str(root)):
        with pytest.raises(UserError, match="outside the allowed roots"):
            read(uri, root)


def test_a_linked_folder_cannot_leave_the_roots(root: Path):
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "a.jsonl").write_bytes(ROW)
    (root / "sub").symlink_to(outside)
    with pytest.raises(UserError, match="outside the allowed roots"):
        read(str(root), root)


def test_a_root_that_is_a_link_itself_is_a_root(root: Path):
    (root / "a.jsonl").write_bytes(ROW)
    link = root.parent / "link"
    link.symlink_to(root)
    assert len(read(str(link / "a.jsonl"), link).files) == 1


def test_without_roots_nothing_may_be_read(root: Path):
    with pytest.raises(UserError, match="none is set"):
        path.locate(PathUri("a.jsonl"), path.data_roots([]), "", root)


def test_a_volume_is_a_root_of_its_own(root: Path):
    (root / "a.jsonl").write_bytes(ROW)
    found, roots = path.locate(PvcUri("a.jsonl"), path.data_roots([]), str(root), None)
    assert len(path.fetch(found, roots, "pvc://a.jsonl", SizeLimit(0)).files) == 1
    with pytest.raises(UserError, match="stays on the volume"):
        path.locate(PvcUri("../x.jsonl"), path.data_roots([str(root.parent)]), str(root), None)


def test_a_volume_must_be_set():
    with pytest.raises(UserError, match="FT_PVC_ROOT"):
        path.locate(PvcUri("a.jsonl"), path.data_roots([]), "", None)


def test_a_dataset_above_the_limit_is_refused(root: Path):
    for name in ("a.jsonl", "b.jsonl"):
        (root / name).write_bytes(ROW)
    assert len(read(str(root), root, max_bytes=2 * len(ROW)).files) == 2
    with pytest.raises(UserError, match=r"b\.jsonl: .* limit"):
        read(str(root), root, max_bytes=2 * len(ROW) - 1)


class Writer:
    """Changes the file while it is read, the given number of times: real writes, in between."""

    def __init__(self, changes: int) -> None:
        self.changes = changes

    def digest(self, target: Path) -> str:
        result = hashlib.sha256(target.read_bytes()).hexdigest()
        if self.changes:
            self.changes -= 1
            with target.open("ab") as stream:
                stream.write(ROW)
        return result


def test_a_file_that_changes_while_it_is_read_is_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    (root / "a.jsonl").write_bytes(ROW)
    monkeypatch.setattr(files, "digest", Writer(changes=1).digest)
    (file,) = read("a.jsonl", root).files
    assert (file.size, file.sha256) == (2 * len(ROW), hashlib.sha256(ROW * 2).hexdigest())


def test_a_file_that_keeps_changing_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    (root / "a.jsonl").write_bytes(ROW)
    monkeypatch.setattr(files, "digest", Writer(changes=2).digest)
    with pytest.raises(SourceUnavailableError, match="changes while it is read"):
        read("a.jsonl", root)


def test_a_file_that_another_thread_appends_to_is_never_half_read(root: Path):
    """The writer stops only when the reader has given up, or read a content that stayed."""
    target = root / "a.jsonl"
    target.write_bytes(ROW * 500_000)
    stop = threading.Event()

    def write() -> None:
        with target.open("ab", buffering=0) as stream:
            while not stop.is_set():
                stream.write(ROW)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(SourceUnavailableError, match=r"a\.jsonl: changes while it is read"):
            read("a.jsonl", root)
    finally:
        stop.set()
        writer.join()
    (file,) = read("a.jsonl", root).files
    assert file.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()


def test_a_folder_that_gains_a_file_while_it_is_read_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    (root / "a.jsonl").write_bytes(ROW)

    def digest(target: Path) -> str:
        (root / "b.jsonl").write_bytes(ROW)
        return hashlib.sha256(target.read_bytes()).hexdigest()

    monkeypatch.setattr(files, "digest", digest)
    with pytest.raises(SourceUnavailableError, match="files came or went"):
        read(str(root), root)


def _append(target: Path) -> None:
    with target.open("ab") as stream:
        stream.write(ROW)


def _replace(target: Path) -> None:
    (target.parent / "new").write_bytes(ROW)
    (target.parent / "new").replace(target)


@pytest.mark.parametrize("change", [_append, _replace, Path.unlink])
def test_a_change_after_the_digest_is_told_to_whoever_reads_the_rows(
    root: Path, change: Callable[[Path], None]
):
    (root / "a.jsonl").write_bytes(ROW)
    fetched = read("a.jsonl", root)
    fetched.require_unchanged()
    change(root / "a.jsonl")
    with pytest.raises(SourceUnavailableError, match=r"a\.jsonl: changed while its rows were read"):
        fetched.require_unchanged()


def partitions(before: str, after: str, root: Path) -> list[str]:
    roots = path.data_roots([str(root)])
    return path.list_partitions(before, after, roots, root, f"{before}{{partition}}{after}")


def test_the_partitions_of_a_folder_are_listed_as_people_count(root: Path):
    for name in ("d9/a.jsonl", "d10/a.jsonl", "d11/b.jsonl", "d 1/a.jsonl", "x9/a.jsonl"):
        (root / name).parent.mkdir()
        (root / name).write_bytes(ROW)
    (root / "d12.jsonl").write_bytes(ROW)
    assert partitions("", "/a.jsonl", root) == ["d9", "d10", "x9"]
    assert partitions(f"{root}/d", "/a.jsonl", root) == ["9", "10"]
    assert partitions("d", "", root) == ["9", "10", "11", "12.jsonl"]
    assert partitions("d", "/", root) == ["9", "10", "11"]
    assert partitions("d", ".jsonl", root) == ["12"]


def test_listing_a_missing_folder_says_so(root: Path):
    with pytest.raises(UserError, match="there is no folder"):
        partitions("drops/", ".jsonl", root)


def test_listing_cannot_leave_the_roots(root: Path):
    with pytest.raises(UserError, match="outside the allowed roots"):
        partitions("../", "/a.jsonl", root)
