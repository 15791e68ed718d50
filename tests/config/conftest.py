"""A pipeline file from its text, and the message with which a bad one is refused."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ft_assets.config import PipelineSpec, load_pipeline
from resources.errors import UserError

Load = Callable[[str], PipelineSpec]
Refusal = Callable[[str], str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def read(text: str) -> PipelineSpec:
        file = tmp_path / "pipe.yaml"
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_pipeline(file).spec

    return read


@pytest.fixture
def refusal(tmp_path: Path, load: Load) -> Refusal:
    """The message, with the folder of the file left out."""

    def refused(text: str) -> str:
        with pytest.raises(UserError) as error:
            load(text)
        return str(error.value).replace(f"{tmp_path}/", "")

    return refused
