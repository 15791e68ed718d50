"""``package://PACKAGE/FILE``: a data file that an installed Python package carries.

The package is found, never imported: reading data must not run code.

Versions: name and version of the installed distribution are recorded as the revision (none for one
that was installed without), and size and SHA-256 as for any local file (``files.read_local``).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path

from resources.errors import UserError
from resources.sources.files import Fetched, SizeLimit, read_local
from resources.sources.uri import PackageUri


def fetch(uri: PackageUri, text: str, limit: SizeLimit) -> Fetched:
    """The file, where the package was installed; nothing is copied.

    Raises:
        UserError: the package or the file is missing, or the file is outside the package.
    """
    real = find(uri, text)
    limit.add(text, real.stat().st_size)
    return Fetched(text, (read_local(real, Path(uri.file).name),), distribution(uri.package))


def find(uri: PackageUri, text: str) -> Path:
    """Where the file is installed.

    Raises:
        UserError: the package or the file is missing, or the file is outside the package.
    """
    folders = _folders(uri.package, text)
    for folder in folders:
        real = Path(os.path.realpath(folder / uri.file))
        if not real.is_relative_to(folder):
            raise UserError(f"{text}: the file is outside the package: name one inside it")
        if real.is_file():
            return real
    raise UserError(
        f"{text}: the package {uri.package} has no such file in {', '.join(map(str, folders))}"
    )


def distribution(package: str) -> str | None:
    """``NAME VERSION`` of the distribution that brought the package; None when none did."""
    names = importlib.metadata.packages_distributions().get(package.partition(".")[0])
    if not names:
        return None
    return f"{names[0]} {importlib.metadata.version(names[0])}"


def _folders(package: str, text: str) -> list[Path]:
    """Real folders of a package, found from its top level: finding a deeper one imports parents."""
    top, *deeper = package.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module in memory without a specification, such as __main__
        spec = None
    if spec is None or spec.submodule_search_locations is None:
        raise UserError(f"{text}: there is no installed package {top}: install it or mend the name")
    return [
        Path(os.path.realpath(location)).joinpath(*deeper)
        for location in spec.submodule_search_locations
    ]
