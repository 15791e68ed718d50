"""The pictures of README and docs, taken from the real UI on the state that `make demo` left.

``python scripts/screenshots.py [FOLDER]`` opens `ft ui` on a free port, walks the pages below with
headless Chromium and writes one PNG each; FOLDER is docs/images by default. A page that does not
show what it should is an error, so that the UI test uses the same walk.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page as Browser
from playwright.sync_api import sync_playwright

from resources.home import ft_home

ROOT = Path(__file__).parent.parent
CODE_LOCATION = "/locations/ft_assets"
# Pictures show paths from FT_HOME on, not whose machine they were taken on.
_SHORTEN_PATHS = """home => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    text.nodeValue = text.nodeValue.split(home).join("$FT_HOME");
  }
}"""
START_SECONDS = 120
PAGE_MILLISECONDS = 60_000


@dataclass(frozen=True)
class Page:
    """One picture: its file, where the page is, and texts that it must show."""

    name: str
    path: str
    shows: tuple[str, ...]


def pages(pipeline: str, partition: str) -> list[Page]:
    """What is worth a picture."""
    assets = f"/assets/{pipeline}"
    drop = f"?view=partitions&partition={partition}"
    return [
        Page("lineage", f"{CODE_LOCATION}/asset-groups/{pipeline}", ("registered_version",)),
        Page("split_dataset", f"{assets}/split_dataset{drop}", ("held_out_rows", "dropped")),
        Page("token_report", f"{assets}/token_report{drop}", ("trained_share", "lengths")),
        Page("finetuned_model", f"{assets}/finetuned_model{drop}", ("fingerprint", "base_model")),
        Page("eval_report", f"{assets}/eval_report{drop}", ("held_out_loss", "verdict")),
        Page("baseline_report", f"{assets}/baseline_report{drop}", ("held_out",)),
        Page("check", f"{assets}/eval_report?view=checks", ("beats_base", "no_forgetting")),
        Page("registered_version", f"{assets}/registered_version{drop}", ("stage",)),
        Page("runs", "/runs", (pipeline,)),
    ]


def chromium() -> str | None:
    """The browser, if it is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def running_ui(environment: Mapping[str, str] | None = None) -> Generator[str]:
    """`ft ui` on a free port, in this or another environment; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).parent / "ft"
    ui = subprocess.Popen(
        [program, "ui", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/server_info", ui)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(ui.pid, signal.SIGINT)
        try:
            ui.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(ui.pid, signal.SIGKILL)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"`ft ui` ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"`ft ui` did not answer within {START_SECONDS} s")


@contextmanager
def browser() -> Generator[Browser]:
    """A page of headless Chromium, 1,600 by 1,000 pixels."""
    program = chromium()
    if program is None:
        raise FileNotFoundError("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"]
        flags += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
        application = playwright.chromium.launch(executable_path=program, args=flags)
        page = application.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PAGE_MILLISECONDS)
        yield page
        application.close()


def take(view: Browser, address: str, page: Page, folder: Path) -> Path:
    """Open one page, wait until it shows what it should, and write its picture."""
    view.goto(address + page.path)
    for text in page.shows:
        view.get_by_text(text).first.wait_for()
    view.wait_for_timeout(2500)  # graphs and charts move into place
    shorten_paths(view)
    target = folder / f"{page.name}.png"
    view.screenshot(path=target)
    return target


def shorten_paths(view: Browser, home: Path | None = None) -> None:
    """Show $FT_HOME in place of the folder (of this environment when none is given)."""
    view.evaluate(_SHORTEN_PATHS, str(home or ft_home()))


def main() -> None:
    """Take all pictures of the demo."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    pipeline, partition = (sys.argv[2:4] + ["demo", "drop-1"][len(sys.argv[2:4]) :])[:2]
    folder.mkdir(parents=True, exist_ok=True)
    with running_ui() as address, browser() as view:
        for page in pages(pipeline, partition):
            print(take(view, address, page, folder))


if __name__ == "__main__":
    main()
