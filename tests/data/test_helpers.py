"""Helper processes cost an interpreter each, so they start where that is worth it."""

import os

from ft_assets.data import helpers
from ft_assets.data.helpers import helpers_for


def test_little_data_pays_for_no_process(tmp_path, monkeypatch):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"{}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert helpers_for([path]) == 0
    monkeypatch.setattr(helpers, "WORTH_IT", 1)
    assert helpers_for([path, tmp_path / "missing"]) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert helpers_for([path]) == 0
