"""The bearer token of a Model Registry server: where it comes from, never what it is.

Belongs here: reading it. Does not belong here: sending it (``transport.py``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from resources.errors import UserError


@dataclass(frozen=True)
class TokenSource:
    """The name of an environment variable or of a file that holds a token; neither means none."""

    variable: str = ""
    file: str = ""

    def read(self) -> str | None:
        """The token as it is now; None when no source is named.

        It is read for every request: a file is tiny, and a service account's token is replaced
        (through a link to another file) while a run is under way.

        Raises:
            UserError: both sources are named, or the named one is missing, empty or no token.
        """
        if self.variable and self.file:
            raise UserError("registry: name token_env or token_file, not both")
        if self.variable:
            value = os.environ.get(self.variable, "")
        elif self.file:
            value = self._read_file()
        else:
            return None
        token = value.strip()
        if not token:
            raise UserError(f"registry: {self.name} is empty or not set: put the token there")
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise UserError(f"registry: {self.name} does not hold a token on one line")
        return token

    @property
    def name(self) -> str:
        """What a message calls the source."""
        if self.variable:
            return f"the environment variable {self.variable} (token_env)"
        if self.file:
            return f"the file {self.file} (token_file)"
        return "no token (name its environment variable in token_env or its file in token_file)"

    def _read_file(self) -> str:
        try:
            return Path(self.file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UserError(f"registry: {self.name} cannot be read: {reason}") from error
