"""The launchpad's form of an asset as Dagster's config schema, cheap enough for many pipelines.

Dagster derives a schema from a ``Config`` class, which costs milliseconds for each of hundreds of
parameters, in every process that loads the code location. The types are the same in all pipelines
and only the defaults differ: they are derived once per asset, and shared.
"""

from __future__ import annotations

# Dagster's internals have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from collections.abc import Mapping
from typing import Any, cast

import dagster as dg

from ft_assets.config.launchpad import run_config_class, run_config_defaults
from ft_assets.config.pipeline import PipelineSpec

_forms: dict[str, dg.Field] = {}
"""Per asset, the schema of the first pipeline that was asked for."""


def run_config_schema(spec: PipelineSpec, asset: str) -> dg.Field:
    """The schema that ``run_config_class`` stands for, with this pipeline's defaults."""
    if asset not in _forms:
        _forms[asset] = cast("Any", run_config_class(spec, asset).to_config_schema()).as_field()
    return _with_defaults(_forms[asset], run_config_defaults(spec, asset))


def _with_defaults(form: dg.Field, values: Mapping[str, Any]) -> dg.Field:
    """The form with these defaults; what has them already is shared, because making it costs."""
    shape = cast("dg.Shape", form.config_type)
    fields = {
        name: _with_defaults(field, values[name])
        if isinstance(field.config_type, dg.Shape)
        else _with_default(field, values[name])
        for name, field in shape.fields.items()
    }
    if all(field is shape.fields[name] for name, field in fields.items()):
        return form
    return dg.Field(
        dg.Shape(fields),
        default_value=dict(values),
        is_required=False,
        description=form.description,
    )


def _with_default(field: dg.Field, value: Any) -> dg.Field:
    if field.default_provided and _same(field.default_value, value):
        return field
    return dg.Field(
        field.config_type, default_value=value, is_required=False, description=field.description
    )


def _same(one: Any, other: Any) -> bool:
    """Equal also in its types: True is no 1, and 1 is no 1.0."""
    return repr(one) == repr(other)
