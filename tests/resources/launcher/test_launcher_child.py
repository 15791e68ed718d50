"""A worker says why it stopped, in its exit status and in words, and outlives no parent."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_WORKER = """
import sys
from pathlib import Path
from resources.errors import UserError
from resources.launcher.child import Reporter, leave, run_worker

def work(plan: Path, report: Reporter) -> None:
{body}

leave(run_worker(work, sys.argv[1:]))
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "plan.json"
    file.write_text("{}")
    return file


def worker(body: str) -> str:
    return _WORKER.format(body=textwrap.indent(textwrap.dedent(body), "    "))


def run(plan: Path, body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DAGSTER_PIPES")}
    return subprocess.run(
        [sys.executable, "-c", worker(body), str(plan)],
        check=False,
        capture_output=True,
        text=True,
        env={**inherited, **environment},
    )


def test_work_that_is_done_ends_with_0(plan):
    done = run(plan, "plan.with_name('result').write_text(plan.read_text())")
    assert done.returncode == 0
    assert plan.with_name("result").read_text() == "{}"
    assert not plan.with_name("error.json").exists()


def test_bad_input_ends_with_2_one_line_and_the_message_in_a_file(plan):
    done = run(plan, "raise UserError('the file ä.jsonl has no rows: bring some')")
    assert done.returncode == 2
    assert done.stderr == "the file ä.jsonl has no rows: bring some\n"
    error = json.loads(plan.with_name("error.json").read_text())
    assert error == {"message": "the file ä.jsonl has no rows: bring some"}


def test_anything_else_ends_with_1_and_its_traceback(plan):
    done = run(plan, "raise RuntimeError('a bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: a bug" in done.stderr
    assert not plan.with_name("error.json").exists()


@pytest.mark.parametrize("body", ["pass", "raise RuntimeError('a bug')"])
def test_the_refusal_of_an_earlier_attempt_is_gone(plan, body):
    plan.with_name("error.json").write_text('{"message": "old"}')
    run(plan, body)
    assert not plan.with_name("error.json").exists()


def test_without_a_step_progress_is_lines_on_stderr(plan):
    done = run(plan, "report('train', 1, 10, loss=2.5)\nreport('train', 2.0, 0)")
    assert done.stderr.splitlines() == ["train 1/10 loss=2.5", "train 2/0 "]


def pipes(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """The environment with which Dagster Pipes starts a process, and the file of its messages."""
    from dagster_pipes import encode_param

    context = {
        "asset_keys": None,
        "code_version_by_asset_key": None,
        "provenance_by_asset_key": None,
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": "run",
        "job_name": None,
        "retry_number": 0,
        "extras": {},
    }
    messages = tmp_path / "messages"
    messages.touch()
    environment = {
        "DAGSTER_PIPES_CONTEXT": encode_param({"data": context}),
        "DAGSTER_PIPES_MESSAGES": encode_param({"path": str(messages)}),
    }
    return environment, messages


def test_with_a_step_progress_goes_through_dagster_pipes(plan, tmp_path):
    environment, messages = pipes(tmp_path)
    done = run(plan, "report('train', 1, 10, loss=2.5)", **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    sent = [json.loads(line) for line in messages.read_text().splitlines()]
    report, finished = [
        item["params"]["payload"] for item in sent if item["method"] == "report_custom_message"
    ]
    assert finished["phase"] == "finished"
    assert finished["seconds"] > 0
    assert report.pop("time") > 0
    assert report == {"phase": "train", "done": 1, "total": 10, "loss": 2.5}


@pytest.mark.parametrize(
    ("body", "status"), [("raise UserError('no')", 2), ("raise RuntimeError('no')", 1)]
)
def test_with_a_step_the_exit_status_is_the_same(plan, tmp_path, body, status):
    environment, _ = pipes(tmp_path)
    assert run(plan, body, **environment).returncode == status
    assert plan.with_name("error.json").exists() is (status == 2)


def test_it_leaves_when_all_that_others_wait_for_is_done(plan):
    """Printed without a newline, a thread's work, what is registered for the exit."""
    done = run(
        plan,
        """
        import atexit, sys, threading, time
        from concurrent.futures import ThreadPoolExecutor

        def late(name: str) -> None:
            time.sleep(0.2)
            plan.with_name(name).touch()

        atexit.register(lambda: plan.with_name("registered").touch())
        threading.Thread(target=late, args=["thread"]).start()
        ThreadPoolExecutor().submit(late, "pool")
        sys.stdout.write("out")
        sys.stderr.write("err")
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "out", "err")
    assert {"registered", "thread", "pool"} <= {file.name for file in plan.parent.iterdir()}


# The parent's end. The worker holds the write end of a pipe: it is closed when it is gone.

_PARENT = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever the process that runs the tests ignores
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
sys.stdin.read()
"""
_WAITS_FOR_EVER = """
import signal
signal.alarm(120)  # should the test fail, nothing stays behind
sys.stdout.write("ready")
sys.stdout.flush()
signal.pause()
"""


def _read(reading: int) -> bytes:
    ready, _, _ = select.select([reading], [], [], 60)
    assert ready, "the worker neither wrote nor ended"
    return os.read(reading, 100)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("end", ["killed", "terminated", "ends by itself"])
def test_a_worker_does_not_outlive_the_process_that_started_it(plan, end):
    reading, writing = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, worker(_WAITS_FOR_EVER), str(plan)],
        stdin=subprocess.PIPE,
        stdout=writing,
    )
    os.close(writing)
    assert parent.stdin is not None
    try:
        assert _read(reading) == b"ready"
        endings = {
            "killed": parent.kill,
            "terminated": parent.terminate,
            "ends by itself": parent.stdin.close,
        }
        endings[end]()
        parent.wait(timeout=60)
        assert _read(reading) == b""  # closed: nobody holds it any more
    finally:
        parent.kill()
        parent.wait()
        os.close(reading)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_worker_whose_parent_is_gone_before_its_first_line_does_nothing(plan):
    done = run(plan, "plan.with_name('result').touch()", STEP_PROCESS="1")
    assert done.returncode == -signal.SIGKILL
    assert not plan.with_name("result").exists()
