"""A step's child process: its reports arrive as it works, and its end is explained."""

from __future__ import annotations

import json
import math

import dagster as dg
import pytest

from resources.errors import UserError
from resources.launcher.process import ChildFailedError, ProcessLauncher, describe

MODULE = "tests.support.small_worker"


@pytest.fixture(params=["cold", "warm"])
def launch(tmp_path, request):
    """Run a worker with a plan in a step; gives its reports and the lines of the event log."""

    request.getfixturevalue(f"{request.param}_workers")

    def run(launcher=None, **plan):
        plan_file = tmp_path / "plan.json"
        plan_file.write_text(json.dumps(plan))
        reports = []

        @dg.asset
        def made(context):
            (launcher or ProcessLauncher()).run(
                context, module=MODULE, plan=plan_file, on_progress=reports.append
            )
            return dg.MaterializeResult()

        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([made], instance=instance)
            lines = [
                entry.user_message
                for entry in instance.all_logs(result.run_id)
                if entry.dagster_event is None and not entry.user_message.startswith("[pipes]")
            ]
        return reports, lines

    return run


def test_reports_arrive_in_order_with_their_numbers(launch):
    reports, _ = launch(steps=5, then="end")
    assert [(r["phase"], r["done"], r["total"]) for r in reports] == [
        ("work", step, 5) for step in range(1, 6)
    ]
    assert [report["loss"] for report in reports] == [1.0, 0.5, 1 / 3, 0.25, 0.2]
    assert all(report["time"] > 0 for report in reports)


def test_a_number_that_is_not_finite_arrives_as_one(launch):
    """It travels as a text, since JSON has no number for it."""
    reports, lines = launch(steps=1, loss="NaN", then="end")
    assert math.isnan(reports[0]["loss"])
    assert lines == ["work 1/1: loss nan"]


def test_the_event_log_gets_the_first_and_the_last_line_and_not_every_one(launch):
    _, lines = launch(ProcessLauncher(log_every_seconds=3600), steps=500, then="end")
    assert lines == ["work 1/500: loss 1", "work 500/500: loss 0.002"]


def test_the_event_log_gets_more_when_that_is_wanted(launch):
    _, lines = launch(ProcessLauncher(log_every_seconds=0), steps=20, then="end")
    assert len(lines) == 20


def test_bars_of_libraries_are_off_in_the_child(launch, tmp_path):
    launch(then="end")
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["TQDM_DISABLE"] == "1"
    assert environment["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


def test_a_refusal_of_the_child_is_a_refusal_of_the_step(launch):
    with pytest.raises(UserError, match=r"^row 7 of the plan is not valid: mend it$"):
        launch(then="refuse")


def test_an_old_refusal_does_not_explain_a_new_failure(launch, tmp_path):
    with pytest.raises(UserError):
        launch(then="refuse")
    with pytest.raises(ChildFailedError, match="ended with status 1"):
        launch(then="fail")


def test_a_failure_points_at_the_traceback(launch, capfd):
    with pytest.raises(ChildFailedError, match="status 1: its traceback is in the step's stderr"):
        launch(then="fail")
    assert "RuntimeError: something nobody expected" in capfd.readouterr().err


def test_a_killed_child_most_likely_ran_out_of_memory(launch):
    with pytest.raises(ChildFailedError, match=r"SIGKILL.*max_tokens_per_gpu.*kubernetes\.memory"):
        launch(steps=2, then="killed")


def test_a_child_that_was_asked_to_end_is_said_to_go_on(launch):
    with pytest.raises(ChildFailedError, match=r"asked to end .* goes on from its checkpoint"):
        launch(then="interrupted")


def test_another_signal_is_named(launch):
    with pytest.raises(ChildFailedError, match="ended by signal SIGTERM"):
        launch(then="terminated")


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ({"phase": "train", "done": 3, "total": 10, "time": 1.0}, "train 3/10"),
        ({"phase": "scan", "done": 1500, "total": 0}, "scan 1500"),
        (
            {"phase": "train", "done": 3, "total": 10, "loss": 2.345678, "learning_rate": 1e-5,
             "step": 3, "total_steps": 10, "tokens": 12},
            "train 3/10: loss 2.346, learning rate 1e-05, tokens 12",
        ),
    ],
)  # fmt: skip
def test_a_line_for_people_has_the_phase_and_its_numbers(progress, expected):
    assert describe(progress) == expected
