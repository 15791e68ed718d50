"""What a person does with a new drop in Dagster's UI, click by click, with a picture of each step.

``tests/test_ui_walk.py`` walks it on a tiny pipeline, and keeps the pictures where ``FT_PICTURES``
names a folder. Belongs here: the clicks. Does not belong here: what must be true (the test).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page as Browser
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from scripts.screenshots import CODE_LOCATION, shorten_paths

SETTLE_MILLISECONDS = 1_500
LOOK_MILLISECONDS = 500
RUN_MILLISECONDS = 240_000
TOOLTIP_MILLISECONDS = 3_000
TOOLTIPS = 20
_RUN_ID = re.compile(r"[0-9a-f]{8}")
_STEP = re.compile(r"\bstep\s+(\d+)\s")


@dataclass(frozen=True)
class Walk:
    """One browser on one pipeline of a running UI."""

    view: Browser
    address: str
    pipeline: str
    home: Path
    """``FT_HOME`` of the UI, which the pictures show by this name."""
    pictures: Path

    def open_graph(self) -> None:
        """The pipeline's assets and what hangs on what."""
        self.view.goto(f"{self.address}{CODE_LOCATION}/asset-groups/{self.pipeline}")
        self.sees("registered_version")
        self.picture("graph")

    def add_drop(self, drop: str) -> None:
        """Ask for all assets, and add the drop in the dialog as a new partition."""
        self.view.get_by_role("button", name="Materialize all").first.click()
        self.view.get_by_text("Add a partition").first.click()
        self.view.get_by_placeholder("name", exact=True).fill(drop)
        self.picture("add-partition")
        self.view.get_by_role("button", name="Save").click()
        self.sees(drop)

    def launch(self, drop: str) -> None:
        """Start the run, and open its page from the list of runs."""
        self.sees("1 partition")
        self.picture("launch")
        self.view.get_by_role("button", name="Launch").last.click()
        self.view.get_by_role("dialog").wait_for(state="detached")
        self.view.get_by_role("link", name="Runs").first.click()
        self.sees(f"partition: {drop}")
        self.view.locator("a[href*='/runs/']", has_text=_RUN_ID).first.click()
        self.view.wait_for_url("**/runs/*-*")

    def steps_of_training(self) -> Iterator[int]:
        """The newest step whose loss the run's page shows, each time that there is a newer one."""
        newest = -1
        while True:
            shown = [int(step) for step in _STEP.findall(self.view.locator("body").inner_text())]
            if shown and max(shown) > newest:
                newest = max(shown)
                yield newest
            self.view.wait_for_timeout(LOOK_MILLISECONDS)

    def wait_for_failure(self) -> None:
        """Stay on the run's page until the run has failed."""
        self.view.get_by_text("RUN_FAILURE").first.wait_for(timeout=RUN_MILLISECONDS)

    def asset(self, name: str, *, drop: str | None = None, view: str = "partitions") -> None:
        """Open an asset's page, at a drop."""
        at = f"&partition={drop}" if drop is not None else ""
        self.view.goto(f"{self.address}/assets/{self.pipeline}/{name}?view={view}{at}")

    def plots(self) -> None:
        """On an asset's overview: the numbers of its events over time."""
        self.view.get_by_role("button", name="Plots").first.click()
        self.view.get_by_role("button", name="Events").last.click()

    def sensor(self, why: str) -> None:
        """The page of the sensor that looks for new data, and the tooltip on why it waits."""
        self.view.goto(f"{self.address}{CODE_LOCATION}/sensors/{self.pipeline}_new_data")
        for _ in range(TOOLTIPS):
            self.view.get_by_text("0 runs requested").first.hover()
            try:
                self.view.get_by_text(why).first.wait_for(timeout=TOOLTIP_MILLISECONDS)
            except PlaywrightTimeout:  # each new tick moves the list from below the pointer
                self.view.mouse.move(0, 0)
            else:
                return
        raise AssertionError(f"no tooltip of a tick says {why!r}")

    def sees(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.view.get_by_text(text).first.wait_for()

    def picture(self, name: str) -> None:
        """Take a picture of the window, once things have moved into place."""
        self.view.wait_for_timeout(SETTLE_MILLISECONDS)
        shorten_paths(self.view, self.home)
        self.view.screenshot(path=self.pictures / f"{name}.png")
