"""A published model whose manifests the cards are written from."""

from __future__ import annotations

import pytest

from tests.support.published_model import Published, publish_model
from tests.support.tiny_pipeline import make_tiny_pipeline


@pytest.fixture(scope="session")
def published(tmp_path_factory, tiny_base_model) -> Published:
    """Read only: all tests share it."""
    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp("cards"), tiny_base_model)
    return publish_model(pipeline, tiny_base_model)
