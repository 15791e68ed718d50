"""Dagster's UI on a state with one run: the pages that the docs show, in a real browser."""

from __future__ import annotations

import pytest

from scripts.screenshots import browser, chromium, pages, running_ui, take
from tests.support.tiny_pipeline import NAME, clean_environment

DROP = "drop-1"

pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(
        chromium() is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
    ),
]


@pytest.fixture(scope="module")
def address(trained):
    with running_ui(clean_environment(trained.pipeline.environment)) as url:
        yield url


@pytest.fixture(scope="module")
def view():
    with browser() as page:
        yield page


@pytest.mark.parametrize("name", [page.name for page in pages(NAME, DROP)])
def test_the_page_shows_what_it_should(name, address, view, tmp_path):
    (page,) = [page for page in pages(NAME, DROP) if page.name == name]
    assert take(view, address, page, tmp_path).stat().st_size > 10_000


def test_the_loss_curve_is_drawn_on_the_asset_page(address, view):
    path = f"/assets/{NAME}/finetuned_model?view=partitions&partition={DROP}"
    view.goto(address + path)
    picture = view.locator("img[alt='loss']").first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 0
