"""What looks like a secret in a pipeline file, so that no message ever shows its value."""

from __future__ import annotations

import re

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PRIVATE_KEY", re.IGNORECASE)
_VALUE = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}"  # a hub token
    r"|://[^\s/?#]*@"  # user and password in a URL
    r"|[?&][\w-]*(?:sig|token|key|credential|password)[\w-]*=",  # a presigned URL
    re.IGNORECASE,
)
_KEY = re.compile(r"([\w.-]+)[\"']?\s*:")


def is_secret_name(name: str) -> bool:
    """Whether an environment variable of this name most likely holds a secret."""
    return _NAME.search(name) is not None


def is_secret_value(value: str) -> bool:
    """Whether a text is, or holds, a token or a password."""
    return _VALUE.search(value) is not None


SECRET = "secret"  # noqa: S105
"""The type of pydantic's error about one: its input is shown nowhere."""


def secret_error(message: str) -> Exception:
    """What a validator raises about a secret: it stands for itself, without the value."""
    return PydanticCustomError(SECRET, "{message}", {"message": message})


def shown_value(value: object) -> str:
    """`` (it is VALUE)`` for a message; empty for whole blocks and for secrets."""
    if isinstance(value, dict | BaseModel) or is_secret_value(repr(value)):
        return ""
    return f" (it is {value!r})"


def holds_secret(line: str, parameters: frozenset[str]) -> bool:
    """Whether a line of a pipeline file shows a secret.

    Args:
        line: of the file.
        parameters: the names that only look like secrets, such as ``max_tokens_per_gpu``.
    """
    keys = _KEY.findall(line)
    return is_secret_value(line) or any(
        is_secret_name(key) and key not in parameters for key in keys
    )
