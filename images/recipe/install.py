"""Install one layer of packages into the image: ``python3 install.py light|evaluation|...|ours``.

Runs in the image that is built, with ``uv`` mounted for as long: neither uv nor pip nor a cache
stays. Every version comes from constraints.txt beside this file.
"""

# ruff: noqa: S603, S607 (it calls uv, with words of its own)
import os
import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).parent
HOME = RECIPE.parent
SBOM = HOME / "sbom.cdx.json"
CACHE = "/var/cache/uv"
"""Mounted for the build; uv's locks go there too, not into the image's /tmp."""


def main(group: str) -> None:
    """Install the group's list, or, for ``ours``, the wheel beside this file; then the SBOM."""
    if not (HOME / "bin").exists():
        uv("venv", "--allow-existing", "--python", sys.executable, str(HOME))
    if group == "ours":
        (wheel,) = RECIPE.glob("*.whl")
        install("--no-deps", str(wheel))
        subprocess.run([HOME / "bin" / "python", RECIPE / "sbom.py", SBOM], check=True)
        return
    listed = RECIPE / f"{group}.txt"
    index = os.environ.get("TORCH_INDEX")
    if index and "torch" in listed.read_text().split():
        # From there torch alone: that index has old versions of much else. What is installed stays.
        install("--no-deps", "--index-url", index, "torch")
    install("--excludes", str(RECIPE / "never.txt"), "--requirements", str(listed))


def install(*what: str) -> None:
    """``uv pip install`` into the image's environment, at the versions of the constraints."""
    uv(
        *("pip", "install", "--python", str(HOME / "bin" / "python")),
        *("--constraints", str(RECIPE / "constraints.txt")),
        *("--link-mode", "copy", *what),
    )


def uv(*arguments: str) -> None:
    """Call uv, which is not to bring a Python of its own."""
    subprocess.run(
        ["uv", "--no-python-downloads", "--cache-dir", CACHE, *arguments],
        env={**os.environ, "TMPDIR": CACHE},
        check=True,
    )


if __name__ == "__main__":
    main(sys.argv[1])
