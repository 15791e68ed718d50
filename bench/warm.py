"""What forked workers save: one small run, with workers that import and with workers that do not.

Three runs in turn, round by round, each with a state of its own: every worker imports by itself
(`FT_WARM_WORKERS=0`); `ft run` as it is, which imports once beside the first worker; and a run
below a host that has imported, as the second run of `ft ui` is. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.overhead import PIPELINE, run  # noqa: E402
from ft_assets.warm_workers import warm_workers  # noqa: E402
from resources.launcher.warm import WANTED  # noqa: E402
from tests.support.tiny_model import make_tiny_model  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {"each_imports": [], "ft_run": [], "below_ft_ui": []}
    with tempfile.TemporaryDirectory() as scratch:
        pipelines = Path(scratch) / "pipelines"
        pipelines.mkdir()
        model = make_tiny_model(Path(scratch) / "model")
        (pipelines / "overhead.yaml").write_text(PIPELINE.format(root=ROOT, model=model))

        def measure(kind: str, number: int) -> None:
            wall, _ = run(Path(scratch) / f"{kind}-{number}", pipelines)
            seconds[kind].append(wall)

        for number in range(rounds):
            os.environ[WANTED] = "0"
            measure("each_imports", number)
            del os.environ[WANTED]
            measure("ft_run", number)
            with warm_workers():
                run(Path(scratch) / f"first-{number}", pipelines)
                measure("below_ft_ui", number)
    median = {kind: statistics.median(of_kind) for kind, of_kind in seconds.items()}
    print(
        json.dumps(
            {
                "seconds": {kind: round(value, 2) for kind, value in median.items()},
                "ft_run_over_each_imports": round(median["ft_run"] / median["each_imports"], 3),
                "below_ft_ui_over_each_imports": round(
                    median["below_ft_ui"] / median["each_imports"], 3
                ),
                "rounds": rounds,
            }
        )
    )


if __name__ == "__main__":
    main()
