"""A tiny base model, training rows, and plans to train the one on the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.formats import normalize
from ft_assets.data.row_files import row_line
from ft_assets.training.base_model import BaseModelRef, locate
from ft_assets.training.plan import TrainPlan, make_plan
from tests.support.tiny_model import make_tiny_model

_ANSWERS = (
    "The library opens at nine.",
    "Water boils at one hundred degrees.",
    "Jupiter is the largest planet, by a wide margin.",
    "A function returns the sum of its two arguments.",
)

Planner = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: a test that changes the model copies it."""
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


def chat(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def write_rows(file: Path, count: int = 40) -> Path:
    rows = [
        chat(("user", f"Question {n} about a planet?"), ("assistant", _ANSWERS[n % 4]))
        for n in range(count)
    ]
    return write_chats(file, rows)


def write_chats(file: Path, chats: list[Any]) -> Path:
    """A row file of these chats, as the split writes it."""
    rows = [normalize({"messages": messages}) for messages in chats]
    file.write_bytes(b"".join(row_line(row_id(row), canonical_bytes(row)) for row in rows))
    return file


def reference(model: Path) -> BaseModelRef:
    return locate(
        str(model), folder=Path("/"), models=Path("/"), chat_template=None, hf_token_env="HF_TOKEN"
    )


@pytest.fixture
def plan_file(tmp_path: Path, tiny_model: Path) -> Planner:
    """Writes the plan of a small run on the CPU into a run folder of its own."""

    def write(
        name: str = "run",
        *,
        base: Path = tiny_model,
        rows: int = 40,
        held_out: int = 0,
        extra: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> Path:
        run_dir = tmp_path / name
        run_dir.mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "backend": "cpu",
            "num_epochs": 2,
            "effective_batch_size": 8,
            "learning_rate": 3e-3,
            "max_seq_len": 128,
            "max_tokens_per_gpu": 512,
            "precision": "fp32",
            "threads": 1,
            **parameters,
        }
        plan = make_plan(
            TrainingConfig.model_validate(values),
            KubernetesConfig(),
            base_model=reference(base),
            models_dir=tmp_path / "models",
            train_file=write_rows(tmp_path / f"train-{rows}.jsonl", rows),
            held_out_file=(
                write_rows(tmp_path / f"held-out-{held_out}.jsonl", held_out) if held_out else None
            ),
            data_digest="0" * 64,
            train_rows=rows,
        )
        if extra:
            plan = TrainPlan(**{**plan.model_dump(), "parameters": {**plan.parameters, **extra}})
        file = run_dir / "plan.json"
        file.write_text(plan.model_dump_json())
        return file

    return write
