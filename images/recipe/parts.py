"""What goes into an image, made in the build stage: lists of packages and our own wheel.

``python3 images/recipe/parts.py FOLDER`` in the repository's root. Nothing but Python's standard
library; ``uv`` on the path makes the wheel. ``lists()`` alone is what the tests look at.
"""

# ruff: noqa: S603 (it calls uv, with words of its own)
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
GROUPS = ("light", "evaluation", "training", "cuda")
"""The layers of packages, from the one that all images share upwards."""


def lists(root: Path = ROOT) -> dict[str, list[str]]:
    """Each group's direct requirements, by pyproject.toml and images/packages.toml.

    A dependency that packages.toml does not name belongs to ``light``, so that a new one cannot be
    forgotten.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    groups = tomllib.loads((root / "images" / "packages.toml").read_text())
    named = {name(package) for group in groups.values() for package in group.get("packages", [])}
    light = [package for package in project["dependencies"] if name(package) not in named]
    for extra in groups["light"]["extras"]:
        light += project["optional-dependencies"][extra]
    return {"light": light} | {
        group: table["packages"] for group, table in groups.items() if group != "light"
    }


def name(requirement: str) -> str:
    """The normalised name of the package that a requirement asks for."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def main(folder: Path) -> None:
    """Write ``folder/recipe``, which the layers of packages are made from, and ``folder/ours``.

    Apart, so that a change of ours leaves the layers of packages as they are.
    """
    recipe = folder / "recipe"
    recipe.mkdir(parents=True)
    for group, packages in lists().items():
        (recipe / f"{group}.txt").write_text("".join(f"{package}\n" for package in packages))
    shutil.copy(ROOT / "constraints.txt", recipe)
    shutil.copy(Path(__file__).with_name("install.py"), recipe)
    ours = folder / "ours"
    ours.mkdir()
    shutil.copy(Path(__file__).with_name("sbom.py"), ours)
    subprocess.run(
        [
            *("uv", "build", "--wheel", "--cache-dir", "/var/cache/uv", "--no-python-downloads"),
            *("--python", sys.executable, "--build-constraints", str(recipe / "constraints.txt")),
            *("--out-dir", str(ours), str(ROOT)),
        ],
        check=True,
    )
    # uv leaves a .gitignore beside what it builds.
    (ours / ".gitignore").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
