"""Evaluations that the court has judged, for the tests of ``ft court``."""

from tests.court.conftest import first, second

__all__ = ["first", "second"]
