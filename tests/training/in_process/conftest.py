"""The settings of one call of a method, as the backend gets them from a plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.training.in_process.settings import Settings
from ft_assets.training.plan import TrainPlan

SettingsFor = Callable[..., Settings]


def silent(phase: str, done: float, total: float, **details: Any) -> None:
    """A reporter that nobody listens to."""


@pytest.fixture
def settings_for(plan_file: Callable[..., Path], tiny_model: Path) -> SettingsFor:
    """Settings of a small run on the CPU; ``base``, ``precision`` and the training block's."""

    def make(*, base: Path = tiny_model, precision: str = "fp32", **values: Any) -> Settings:
        plan = TrainPlan.model_validate_json(plan_file(base=base, **values).read_text())
        return Settings.of(
            plan.algorithm,
            {
                "model_path": str(base),
                "data_path": plan.train_file,
                "ckpt_output_dir": str(Path(plan.train_file).parent),
                "held_out_path": None,
                "mask": plan.mask.model_dump(mode="json"),
                "machine": {"device": "cpu", "threads": 1, "precision": precision},
                "report": silent,
                "fingerprint": plan.fingerprint,
                "checkpoint_choice": plan.checkpoint_choice,
                "on_unhealthy": plan.on_unhealthy,
                **plan.parameters,
            },
        )

    return make
