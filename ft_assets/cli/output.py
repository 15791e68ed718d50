"""How commands speak: one JSON object on stdout, or text for people; logs and bars on stderr."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Generator, Mapping
from typing import Any, ParamSpec

import click
from rich.console import Console

from resources.errors import UserError
from resources.home import dagster_home, ft_home

P = ParamSpec("P")

stderr = Console(stderr=True)


class Commands(click.Group):
    """A group of commands whose usage errors are one JSON object too, when JSON is asked for."""

    def __init__(self, *args: Any, later: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        """Make a group.

        Args:
            later: commands whose module is imported when they are asked for, by name: MODULE:NAME.
        """
        super().__init__(*args, **kwargs)
        self._later = dict(later or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted({*super().list_commands(ctx), *self._later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in self._later:
            return super().get_command(ctx, cmd_name)
        module, _, name = self._later[cmd_name].partition(":")
        return getattr(importlib.import_module(module), name)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the command line and run the command."""
        arguments = list(args[0] if args else kwargs.get("args") or sys.argv[1:])
        if "--json" not in arguments:
            return super().main(*args, **kwargs)
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as error:
            fail(error.format_message(), as_json=True, status=error.exit_code)
        except click.Abort:
            fail("interrupted", as_json=True)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn bad input into one message and exit status 1, never into a traceback."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _settle_home()
            function(*args, **kwargs)
        except UserError as error:
            fail(str(error), as_json=bool(kwargs.get("as_json")))

    return wrapped


def _settle_home() -> None:
    """A step's child process and the UI find the state that this process finds."""
    os.environ["DAGSTER_HOME"] = str(dagster_home())
    os.environ["FT_HOME"] = str(ft_home())


def fail(message: str, *, as_json: bool, status: int = 1, **details: Any) -> None:
    """Say what is wrong and exit."""
    if as_json:
        print(json.dumps({"error": message, **details}))
    stderr.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)


def show(result: Mapping[str, Any], text: Callable[[Console], None], *, as_json: bool) -> None:
    """Print a result as JSON, or as ``text`` draws it."""
    if as_json:
        print(json.dumps(result, default=str))
    else:
        text(Console())


@contextlib.contextmanager
def stdout_is_for_results() -> Generator[None]:
    """Send all that this process and its children write to stdout to stderr instead.

    Steps print, libraries print, and Dagster copies both through; what a command prints on stdout
    is its result alone.
    """
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
