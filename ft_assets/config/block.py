"""What all blocks of a pipeline file have in common."""

from __future__ import annotations

import difflib
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo


def parameter(
    default: Any = ..., description: str = "", *, seed: tuple[str, ...] = (), **limits: Any
) -> Any:
    """A parameter of a block.

    Args:
        default: its default; without one the parameter is required.
        description: what it does, with its unit. Shown in the launchpad and in the JSON schema.
        seed: its names in the Kubeflow pipelines and components that this project replaces; they
            are accepted in place of the parameter's own name.
        limits: pydantic's own constraints (``ge``, ``gt``, ``pattern`` and so on).
    """
    extra: dict[str, Any] = {"seed_names": list(seed)} if seed else {}
    return Field(default, description=description, json_schema_extra=extra or None, **limits)


class Block(BaseModel):
    """A frozen group of parameters that knows every key it takes and refuses the others."""

    model_config = ConfigDict(
        frozen=True,
        defer_build=True,  # most are never used in a process that loads the code location
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,  # a value may be a secret, and tracebacks travel far
    )

    not_taken: ClassVar[dict[str, str]] = {}
    """The seeds' parameter names that have no place here, and why."""

    @classmethod
    def seed_names(cls) -> dict[str, str]:
        """The seeds' parameter names and the name that each has here."""
        return {
            seed: name for name, field in cls.model_fields.items() for seed in _seed_names_of(field)
        }

    @model_validator(mode="before")
    @classmethod
    def _accept_seed_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = dict(cast("dict[str, Any]", values))
        for seed, name in cls.seed_names().items():
            if seed in given:
                if name in given:
                    raise ValueError(f"{seed} and {name} are the same parameter: keep one of them")
                given[name] = given.pop(seed)
        return given

    @classmethod
    def closest_name(cls, misspelled: str) -> str | None:
        """The parameter that a misspelled name most likely meant, if any is close."""
        known = [*cls.model_fields, *cls.seed_names()]
        close = difflib.get_close_matches(misspelled, known, n=1, cutoff=0.6)
        return close[0] if close else None


def _seed_names_of(field: FieldInfo) -> list[str]:
    extra = cast("object", field.json_schema_extra)
    return cast("dict[str, list[str]]", extra).get("seed_names", []) if extra else []
