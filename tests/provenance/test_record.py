"""The record of where an artifact comes from: complete, typed, and JSON both ways."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import version

import pytest
from pydantic import ValidationError

from ft_assets.provenance.builder import gpus, processor
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


def test_processor_and_gpus_are_named_as_the_system_names_them(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Processor 9\n")
    for bus in ("0000:81:00.0", "0000:01:00.0"):
        card = tmp_path / "driver" / "nvidia" / "gpus" / bus
        card.mkdir(parents=True)
        (card / "information").write_text(f"Model: \t\t NVIDIA H200\nBus Location: \t {bus}\n")
    assert processor(tmp_path) == "A Processor 9"
    assert gpus(tmp_path) == ["NVIDIA H200", "NVIDIA H200"]


def test_without_such_files_the_architecture_is_known_and_no_gpu(tmp_path):
    assert processor(tmp_path) == platform.machine()
    assert gpus(tmp_path) == []


def test_a_field_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="extra"):
        _record(host="vm-1")


def test_times_are_utc():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", now())
