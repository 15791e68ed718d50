"""Lineage in words: short digests, and tables whose columns have types."""

from __future__ import annotations

import dagster as dg

from ft_assets.lineage import lineage_metadata, table
from ft_assets.provenance.record import InputRecord


def _input(**changed):
    values = {"asset": "demo/raw", "digest": "d" * 64, "data_version": "v" * 64, "uri": "/store/x"}
    return InputRecord(**{**values, **changed})


def test_digests_are_cut_to_what_people_compare():
    metadata = lineage_metadata(
        inputs=[_input()], spec_digest="s" * 64, uri="/store/y", digest="e" * 64
    )
    assert metadata["digest"] == "e" * 12
    assert metadata["spec"] == "s" * 12
    (row,) = metadata["made_from"].records
    assert row.data == {"asset": "demo/raw", "data version": "v" * 12, "artifact": "/store/x"}


def test_the_first_asset_is_made_from_nothing():
    metadata = lineage_metadata(inputs=[], spec_digest="s", uri="/store/y", digest="e")
    assert "made_from" not in metadata


def test_a_folder_is_a_path_in_the_ui_and_an_s3_uri_is_text():
    here = lineage_metadata(inputs=[], spec_digest="s", uri="/store/y", digest="e")
    there = lineage_metadata(inputs=[], spec_digest="s", uri="s3://bucket/y", digest="e")
    assert isinstance(here["artifact"], dg.PathMetadataValue)
    assert there["artifact"] == "s3://bucket/y"


def test_a_tables_columns_have_the_types_of_their_values():
    made = table(
        [{"a": "x", "b": 1, "c": 1.5, "d": True}, {"a": "y", "b": 2, "c": 2.5, "d": False}]
    )
    assert {column.name: column.type for column in made.schema.columns} == {
        "a": "string",
        "b": "int",
        "c": "float",
        "d": "bool",
    }
    assert len(made.records) == 2


def test_an_empty_table_is_a_table():
    assert table([]).records == []
