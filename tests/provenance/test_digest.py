"""Digests follow from content alone, and differ where the content does."""

from __future__ import annotations

import hashlib
import math

import pytest

from ft_assets.provenance.digest import file_digest, files_digest, value_digest


def test_a_files_digest_is_its_sha256(tmp_path):
    content = b"x" * (3 * 2**20 + 1)  # more than one chunk
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_a_folders_digest_does_not_hang_on_the_order_of_names(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    assert files_digest(tmp_path, ["a", "b", "c"]) == files_digest(tmp_path, ["c", "a", "b"])


def test_a_folders_digest_hangs_on_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    (tmp_path / "c").write_text("2")
    digests = {files_digest(tmp_path, names) for names in (["a"], ["b"], ["c"], ["a", "b"], [])}
    assert len(digests) == 5


def test_a_values_digest_does_not_hang_on_the_order_of_keys():
    assert value_digest({"a": 1, "b": [1, 2]}) == value_digest({"b": [1, 2], "a": 1})
    assert value_digest([1, 2]) != value_digest([2, 1])


@pytest.mark.parametrize("other", [{"a": 1.5}, {"a": "1"}, {"a": True}, {"a": None}, {}, ["a", 1]])
def test_other_values_have_other_digests(other):
    assert value_digest({"a": 1}) != value_digest(other)


def test_a_number_that_json_does_not_have_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        value_digest({"loss": math.nan})
