"""The automation block: what is refused, and what is off by default."""

from __future__ import annotations

import pytest

from ft_assets.config import load_pipeline
from ft_assets.config.automation import AutomationConfig
from resources.errors import UserError


def test_everything_is_off_by_default():
    config = AutomationConfig()
    assert not config.enabled
    assert not config.watch_base_model
    assert config.schedule is None
    assert (config.runs_per_day, config.gpu_hours_per_day, config.cool_down) == (0, 0, 0)


@pytest.mark.parametrize("marker", ["", "a/b", ".done", "done.jsonl", "done.JSONL.gz"])
def test_a_marker_that_is_no_plain_name_or_would_be_data_is_refused_with_its_line(tiny, marker):
    tiny.write({"automation": {"marker": marker}})
    with pytest.raises(UserError, match=r"tiny\.yaml:\d+:\d+: automation\.marker is "):
        load_pipeline(tiny.file)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("interval", 1), ("quiet", -1), ("min_new_rows", -1), ("cool_down", -1), ("runs_per_day", -1)],
)
def test_numbers_out_of_range_are_refused(parameter, value):
    with pytest.raises(ValueError, match=parameter):
        AutomationConfig.model_validate({parameter: value})
