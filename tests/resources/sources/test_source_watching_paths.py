"""Watching folders for new and changed drops."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.sources import Sources, SourceUnavailableError
from resources.sources.drops import DropVersion
from resources.sources.path_watch import PAGE_OF_FILES

ROW = b'{"messages": []}\n'


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(data_roots=[str(tmp_path)])


def put(path: Path, content: bytes = ROW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def found(version: DropVersion | None) -> DropVersion:
    assert version is not None
    return version


def test_a_look_finds_the_drops_behind_a_position(sources: Sources, tmp_path: Path):
    for key in ("drop-1", "drop-2", "drop-3"):
        put(tmp_path / key / "rows.jsonl")
    first = sources.drops_after("{partition}/", "", base_dir=tmp_path)
    assert (list(first.drops), first.position, first.end) == (
        ["drop-1", "drop-2", "drop-3"],
        "drop-3",
        True,
    )
    put(tmp_path / "drop-4" / "rows.jsonl")
    more = sources.drops_after("{partition}/", first.position, base_dir=tmp_path)
    assert list(more.drops) == ["drop-4"]
    assert more.drops["drop-4"] == sources.drop_version("{partition}/", "drop-4", base_dir=tmp_path)
    nothing = sources.drops_after("{partition}/", more.position, base_dir=tmp_path)
    assert (nothing.drops, nothing.position, nothing.end) == ({}, "drop-4", True)


@pytest.mark.parametrize(
    ("template", "file"),
    [
        ("{partition}.jsonl", "a.jsonl"),
        ("{partition}", "a.jsonl"),
        ("{partition}/", "a/deep/rows.jsonl"),
        ("day={partition}/data", "day=a/data/rows.parquet"),
        ("all/{partition}/rows.jsonl", "all/a/rows.jsonl"),
    ],
)
def test_a_look_finds_what_every_form_of_template_means(
    sources: Sources, tmp_path: Path, template: str, file: str
):
    put(tmp_path / file)
    page = sources.drops_after(template, "", base_dir=tmp_path)
    assert list(page.drops) == sources.list_partitions(template, tmp_path)
    ((key, version),) = page.drops.items()
    assert version == sources.drop_version(template, key, base_dir=tmp_path)
    assert (found(version).files, found(version).bytes) == (1, len(ROW))


def test_names_that_are_no_drop_are_passed_over(sources: Sources, tmp_path: Path):
    put(tmp_path / "good" / "rows.jsonl")
    put(tmp_path / "only-text" / "README.md")
    put(tmp_path / ".hidden" / "rows.jsonl")
    put(tmp_path / "sp ace" / "rows.jsonl")
    put(tmp_path / "half" / ".rows.jsonl")
    put(tmp_path / "a-file")
    (tmp_path / "empty").mkdir()
    page = sources.drops_after("{partition}/", "", base_dir=tmp_path)
    assert list(page.drops) == ["good"]
    assert page.end


def test_a_page_ends_after_so_many_files(sources: Sources, tmp_path: Path):
    for number in range(PAGE_OF_FILES):
        put(tmp_path / "a" / f"{number}.jsonl", b"")
    for key in ("b", "c"):
        put(tmp_path / key / "rows.jsonl")
    page = sources.drops_after("{partition}/", "", base_dir=tmp_path)
    assert (list(page.drops), page.position, page.end) == (["a"], "a", False)
    rest = sources.drops_after("{partition}/", page.position, base_dir=tmp_path)
    assert (list(rest.drops), rest.end) == (["b", "c"], True)
    both = sources.drops_after("{partition}/", "", base_dir=tmp_path, pages=2)
    assert (list(both.drops), both.end) == (["a", "b", "c"], True)


def test_pages_after_several_positions_are_those_of_one_look_each(sources: Sources, tmp_path: Path):
    for number in range(6):
        put(tmp_path / f"d{number}" / "rows.jsonl")
    positions = ["", "d2", "d5"]
    pages = sources.drop_pages("{partition}/", positions, base_dir=tmp_path)
    alone = [sources.drops_after("{partition}/", one, base_dir=tmp_path) for one in positions]
    assert pages == alone
    assert [list(page.drops) for page in pages][1:] == [["d3", "d4", "d5"], []]


def test_every_change_of_a_file_is_another_token(sources: Sources, tmp_path: Path):
    drop = tmp_path / "d"

    def token() -> str:
        return found(sources.drop_version("d/", None, base_dir=tmp_path)).token

    put(drop / "rows.jsonl")
    tokens = [token()]
    assert token() == tokens[0]
    put(drop / "more.jsonl", b"")
    tokens.append(token())
    put(drop / "rows.jsonl", ROW * 2)
    tokens.append(token())
    os.utime(drop / "rows.jsonl", ns=(1, 1))
    tokens.append(token())
    (drop / "more.jsonl").rename(drop / "other.jsonl")
    tokens.append(token())
    assert len(set(tokens)) == len(tokens)
    assert len(tokens[0]) == 64


def test_a_file_put_back_with_its_old_size_and_time_is_another_token(
    sources: Sources, tmp_path: Path
):
    file = tmp_path / "a.jsonl"
    put(file, b"1" + ROW)
    before = file.stat()
    old = sources.drop_version("a.jsonl", None, base_dir=tmp_path)
    put(file, b"2" + ROW)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert sources.drop_version("a.jsonl", None, base_dir=tmp_path) != old


def test_a_drop_that_is_removed_is_gone(sources: Sources, tmp_path: Path):
    put(tmp_path / "a" / "rows.jsonl")
    shutil.rmtree(tmp_path / "a")
    assert sources.drop_version("{partition}/", "a", base_dir=tmp_path) is None
    assert sources.drops_after("{partition}/", "", base_dir=tmp_path).drops == {}


def test_other_files_and_hidden_ones_change_no_token(sources: Sources, tmp_path: Path):
    put(tmp_path / "a" / "rows.jsonl")
    old = sources.drop_version("a", None, base_dir=tmp_path)
    put(tmp_path / "a" / "README.md")
    put(tmp_path / "a" / ".rows.jsonl.part")
    assert sources.drop_version("a", None, base_dir=tmp_path) == old


@pytest.mark.parametrize(
    ("template", "data", "marker_file"),
    [
        ("{partition}/", "a/rows.jsonl", "a/_SUCCESS"),
        ("{partition}.jsonl", "a.jsonl", "a.jsonl._SUCCESS"),
    ],
)
def test_the_marker_is_seen_and_is_no_data(
    sources: Sources, tmp_path: Path, template: str, data: str, marker_file: str
):
    put(tmp_path / marker_file, b"")
    assert not sources.drops_after(template, "", base_dir=tmp_path, marker="_SUCCESS").drops
    (tmp_path / marker_file).unlink()
    put(tmp_path / data)
    without = found(sources.drop_version(template, "a", base_dir=tmp_path, marker="_SUCCESS"))
    put(tmp_path / marker_file, b"")
    page = sources.drops_after(template, "", base_dir=tmp_path, marker="_SUCCESS")
    marked = found(page.drops["a"])
    assert (without.marked, marked.marked) == (False, True)
    assert marked.token == without.token
    assert marked.files == 1


@pytest.mark.parametrize(
    ("marker", "why"), [("done.jsonl", "data"), ("a/b", "name"), ("", "name"), ("..", "name")]
)
def test_a_marker_that_is_none_is_refused(sources: Sources, tmp_path: Path, marker: str, why: str):
    with pytest.raises(UserError, match=why):
        sources.drop_version("a/", None, base_dir=tmp_path, marker=marker)


def test_links_are_followed_within_the_roots(sources: Sources, tmp_path: Path):
    put(tmp_path / "v1" / "rows.jsonl")
    put(tmp_path / "v2" / "rows.jsonl", ROW * 2)
    (tmp_path / "drops").mkdir()
    current = tmp_path / "drops" / "current"
    current.symlink_to("../v1")
    (tmp_path / "v1" / "round").symlink_to(".")
    (tmp_path / "v1" / "nowhere.jsonl").symlink_to("missing.jsonl")
    first = found(sources.drop_version("drops/{partition}/", "current", base_dir=tmp_path))
    assert first.files == 1
    current.unlink()
    current.symlink_to("../v2")
    second = found(sources.drop_version("drops/{partition}/", "current", base_dir=tmp_path))
    assert second.token != first.token


def test_a_drop_that_may_not_be_read_does_not_hide_the_others(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    outside = tmp_path_factory.mktemp("outside")
    put(outside / "rows.jsonl")
    (tmp_path / "bad").symlink_to(outside)
    put(tmp_path / "good" / "rows.jsonl")
    sources = Sources(data_roots=[str(tmp_path)])
    page = sources.drops_after("{partition}/", "", base_dir=tmp_path)
    assert list(page.drops) == ["bad", "good"]
    assert page.drops["bad"] is None
    with pytest.raises(UserError, match="outside the allowed roots"):
        sources.drop_version("{partition}/", "bad", base_dir=tmp_path)


def test_a_link_to_itself_is_told(sources: Sources, tmp_path: Path):
    put(tmp_path / "a" / "rows.jsonl")
    (tmp_path / "a" / "round.jsonl").symlink_to("round.jsonl")
    assert sources.drops_after("{partition}/", "", base_dir=tmp_path).drops == {"a": None}
    with pytest.raises(SourceUnavailableError, match=r"round\.jsonl: cannot be looked at"):
        sources.drop_version("{partition}/", "a", base_dir=tmp_path)


def test_a_folder_that_is_missing_is_named(sources: Sources, tmp_path: Path):
    with pytest.raises(UserError, match=r"there is no folder .*drops.*: create it"):
        sources.drops_after("drops/{partition}/", "", base_dir=tmp_path)


def test_a_volume_is_watched_as_a_folder(tmp_path: Path):
    put(tmp_path / "d" / "a" / "rows.jsonl")
    sources = Sources(data_roots=[], pvc_root=str(tmp_path))
    page = sources.drops_after("pvc://d/{partition}/", "")
    assert page.drops == {"a": sources.drop_version("pvc://d/a/", None)}


def test_a_uri_without_its_partition_is_refused(sources: Sources):
    with pytest.raises(UserError, match="not filled in"):
        sources.drop_version("d/{partition}/", None)
    with pytest.raises(UserError, match="exactly once"):
        sources.drops_after("d/", "")


@pytest.mark.parametrize(
    "uri",
    ["https://host/{partition}.jsonl", "hf://org/{partition}", "package://p/{partition}.json"],
)
def test_a_source_without_a_listing_is_refused(sources: Sources, uri: str):
    with pytest.raises(UserError, match="cannot be listed"):
        sources.drops_after(uri, "")
