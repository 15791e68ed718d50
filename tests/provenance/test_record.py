"""The record of where an artifact comes from: complete, typed, and JSON both ways."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import version

import pytest
from pydantic import ValidationError

from ft_assets.provenance.record import InputRecord, ProvenanceRecord, installed, now


def _record(**changed):
    values = {
        "pipeline": "demo",
        "asset": "finetuned_model",
        "partition": None,
        "run_id": "run-1",
        "code_version": "1",
        "config": {"learning_rate": 1e-4},
        "inputs": [InputRecord(asset="demo/split", digest="d", data_version="v", uri="/s")],
        "started_at": now(),
    }
    return ProvenanceRecord(**{**values, **changed})


def test_it_names_the_interpreter_and_the_packages_that_do_the_work():
    record = _record()
    assert record.python == platform.python_version()
    assert record.packages["dagster"] == version("dagster")
    assert record.packages["torch"] == version("torch")


def test_a_package_that_is_not_installed_is_left_out():
    assert installed(("dagster", "no-such-package-at-all")) == {"dagster": version("dagster")}


def test_it_survives_json():
    record = _record(partition="drop-1")
    assert ProvenanceRecord.model_validate(json.loads(record.model_dump_json())) == record


def test_a_field_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="extra"):
        _record(host="vm-1")


def test_times_are_utc():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", now())
