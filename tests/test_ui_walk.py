"""The way of a new drop through Dagster's UI, by clicks, as a person goes it.

The graph is opened, a drop is added and materialized, its loss is watched while it trains, its
report is read, and its version is blocked: the answers of the drop were lost, so that its model is
worse than the champion. Everything is real: `ft ui` with its daemon, the run, the browser.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pytest

from scripts.screenshots import browser, chromium, running_ui
from scripts.walk import Walk
from tests.support.dagster_server import DagsterServer
from tests.support.lost_answers import example_rows, without_answers
from tests.support.tiny_pipeline import NAME, TinyPipeline, clean_environment, make_tiny_pipeline

DROP = "drop-2"
EPOCHS = 40
"""Enough for somebody to watch."""
LOOKS = 3

pytestmark = [
    pytest.mark.ui,
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the fixture walks
    pytest.mark.skipif(
        chromium() is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
    ),
]


@dataclass(frozen=True)
class Walked:
    """The browser after the walk, and what was seen on the way."""

    walk: Walk
    server: DagsterServer
    steps_seen: list[int] = field(default_factory=list[int])
    """The training's steps, as the run's page showed them while the model was not there yet."""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, tiny_base_model: Path) -> TinyPipeline:
    """A pipeline with a champion, and a drop that nobody has told Dagster about."""
    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp("walk") / NAME, tiny_base_model)
    held_out = pipeline.data / "measured-with" / "held-out.jsonl"
    held_out.parent.mkdir()
    held_out.write_text(example_rows(200, 24), encoding="utf-8")
    pipeline.write(
        {
            "dataset": {"eval_uri": str(held_out)},
            "training": {"num_epochs": EPOCHS},
            "automation": {"max_age_hours": 24, "enabled": True, "dry_run": True, "interval": 5},
        }
    )
    done = pipeline.ft("run", NAME, "--set", "training.num_epochs=3", "--json")
    assert done.exit_code == 0, done.stderr
    without_answers(pipeline.data / f"{DROP}.jsonl", start=100, rows=40)
    return pipeline


@pytest.fixture(scope="module")
def walked(pipeline: TinyPipeline, tmp_path_factory: pytest.TempPathFactory) -> Generator[Walked]:
    pictures = Path(os.environ.get("FT_PICTURES") or tmp_path_factory.mktemp("pictures"))
    pictures.mkdir(parents=True, exist_ok=True)
    environment = {**pipeline.environment, "FRESHNESS_DAEMON_INTERVAL_SECONDS": "5"}
    with running_ui(clean_environment(environment)) as url, browser() as view:
        walked = Walked(Walk(view, url, NAME, pipeline.home, pictures), DagsterServer(url))
        go(walked, pipeline)
        yield walked


def go(walked: Walked, pipeline: TinyPipeline) -> None:
    """The walk, up to the end of the run."""
    walk = walked.walk
    walk.open_graph()
    walk.add_drop(DROP)
    walk.launch(DROP)
    for step in islice(walk.steps_of_training(), LOOKS):
        if pipeline.store.find([NAME, "finetuned_model"], DROP) is None:
            walked.steps_seen.append(step)
    walk.picture("live-loss")
    walk.wait_for_failure()


def test_the_loss_is_seen_on_the_page_of_the_run_while_the_model_trains(walked):
    assert len(walked.steps_seen) > 1
    assert walked.steps_seen == sorted(set(walked.steps_seen))


def test_the_numbers_of_the_training_are_drawn_over_time(walked):
    walked.walk.asset("finetuned_model", view="overview")
    walked.walk.plots()
    walked.walk.sees("grad_norm")
    walked.walk.picture("plots")


def test_the_report_shows_the_verdict_the_numbers_and_the_differences(walked):
    walk = walked.walk
    walk.asset("eval_report", drop=DROP)
    walk.sees("held_out/loss is worse than the base model's")
    drawn = walk.view.locator("img[alt='differences']").first
    drawn.wait_for()
    assert drawn.evaluate("image => image.naturalWidth") > 0
    for column in ("base", "champion", "candidate"):
        walk.view.get_by_role("columnheader", name=column, exact=True).or_(
            walk.view.get_by_text(column, exact=True)
        ).first.wait_for()
    walk.picture("report")


def test_the_version_is_blocked_and_the_reason_stands_at_the_check(walked):
    walk = walked.walk
    walk.asset("registered_version", drop=DROP)
    walk.sees("failed, and did not materialize this asset")
    walk.picture("blocked")
    walk.asset("eval_report", view="checks")
    walk.sees("beats_champion")
    walk.sees("held_out/loss is worse than the base model's")
    walk.sees("blocking")
    walk.picture("reason")


def test_the_champion_stands_and_is_fresh(walked):
    walk = walked.walk
    walk.asset("registered_version", view="overview")
    walk.sees("Freshness policy")
    walk.sees("Passing")
    walk.sees("Fails if more than 24 hours since last materialization")
    walk.picture("freshness")


def test_the_sensor_says_at_each_look_why_it_asks_for_nothing(walked):
    walk = walked.walk
    walk.sensor(why="Dry run")
    walk.picture("sensor")
    ticks = walked.server.sensor(f"{NAME}_new_data")["ticks"]
    assert {tick["status"] for tick in ticks} <= {"SKIPPED", "STARTED"}
    assert any(DROP in (tick["skipReason"] or "") for tick in ticks), ticks
