"""Dagster's daemon as it is, but for how often it looks for backfills: its 30 s are no setting.

``python -m tests.support.quick_daemon run ...`` in place of ``dagster-daemon run ...``.
"""

from __future__ import annotations

from dagster._daemon import cli, controller

controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2  # read where the loop of the backfills begins

if __name__ == "__main__":
    cli.main()
