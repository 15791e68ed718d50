"""The keys of dataset drops."""

from __future__ import annotations

import pytest

from resources.errors import UserError
from resources.sources.partitions import key_pattern, matching_key, natural_order, substitute


def test_a_key_takes_the_place_of_the_placeholder():
    assert substitute("s3://b/day={partition}/a.jsonl", "2024-01-31") == (
        "s3://b/day=2024-01-31/a.jsonl"
    )


@pytest.mark.parametrize("key", ["", "..", ".hidden", "a/b", "a b", "a\n", "é", "-x", "x" * 129])
def test_a_key_that_could_change_the_place_is_refused(key: str):
    with pytest.raises(UserError, match="partition key"):
        substitute("/data/{partition}.jsonl", key)


@pytest.mark.parametrize("template", ["/data/a.jsonl", "/data/{partition}/{partition}.jsonl"])
def test_a_template_has_the_placeholder_exactly_once(template: str):
    with pytest.raises(UserError, match="exactly once"):
        substitute(template, "a")


def test_keys_sort_as_people_count():
    keys = ["d10", "d9", "d1-b", "d01", "d1", "a", "7"]
    assert sorted(keys, key=natural_order) == ["7", "a", "d01", "d1", "d1-b", "d9", "d10"]


@pytest.mark.parametrize(
    ("after", "name", "key"),
    [
        ("/a.jsonl", "p/x/a.jsonl", "x"),
        ("/a.jsonl", "p/x/y/a.jsonl", None),
        ("/a.jsonl", "p/x/b.jsonl", None),
        (".jsonl", "p/x.y.jsonl", "x.y"),
        ("", "p/x/deep/a.jsonl", "x"),
        ("", "p/x.jsonl", "x.jsonl"),
        ("/", "p/x/a.jsonl", "x"),
        ("/", "p/x.jsonl", None),
        ("/", "p/x/notes.txt", None),
        ("/", "p/_temporary/a.jsonl", None),
    ],
)
def test_a_file_belongs_to_the_partition_that_would_read_it(after: str, name: str, key: str | None):
    assert matching_key(key_pattern("p/", after), name) == key
