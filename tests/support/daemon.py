"""Dagster's daemon on the instance of a pipeline of the tests."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resources.home import CHECKOUT
from tests.support.tiny_pipeline import TinyPipeline, clean_environment


@contextmanager
def daemon(pipeline: TinyPipeline) -> Generator[None]:
    """Dagster's daemon on the pipeline's instance, as ``ft ui`` starts one."""
    program = Path(sys.executable).with_name("dagster-daemon")
    process = subprocess.Popen(
        [str(program), "run", "--workspace", str(CHECKOUT / "workspace.yaml")],
        env=clean_environment(pipeline.dagster_environment),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        with pipeline.instance() as instance:
            while "BACKFILL" not in instance.get_daemon_heartbeats():
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)
