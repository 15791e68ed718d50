"""Our tables of Kubernetes' structures against the models of its own client."""

from __future__ import annotations

import re

import kubernetes.client as models
import pytest

from ft_assets.config.kubernetes.shapes import (
    AFFINITY,
    ENV_SOURCE,
    TOLERATION,
    VOLUME,
    VOLUME_MOUNT,
)
from ft_assets.config.kubernetes.structure import conform

# Fields of the models that no table has, and why.
LEFT_OUT = {
    "V1EnvVarSource": {"fileKeyRef"},  # alpha
    "V1VolumeProjection": {"podCertificate"},  # alpha
    # Gone from Kubernetes: they can no longer be mounted.
    "V1Volume": {
        *("cephfs", "flocker", "gitRepo", "glusterfs", "photonPersistentDisk", "quobyte"),
        *("rbd", "scaleIO", "storageos"),
    },
    # Of a template only these are kept.
    "V1ObjectMeta": set(models.V1ObjectMeta.attribute_map.values()) - {"annotations", "labels"},
}


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        (AFFINITY, "V1Affinity"),
        (ENV_SOURCE, "V1EnvVarSource"),
        (TOLERATION, "V1Toleration"),
        (VOLUME, "V1Volume"),
        (VOLUME_MOUNT, "V1VolumeMount"),
    ],
)
def test_a_table_has_the_fields_and_the_types_of_the_model(shape, model):
    _compare(shape, model, model)


def _compare(shape, openapi, at):
    """A table against the type that the client gives in its own notation."""
    if inner := re.fullmatch(r"list\[(.*)\]", openapi):
        assert isinstance(shape, list), at
        return _compare(shape[0], inner[1], f"{at}[]")
    if openapi.startswith("dict("):
        assert shape == {"*": str}, at
        return None
    if openapi in ("str", "int", "bool"):
        assert shape is {"str": str, "int": int, "bool": bool}[openapi] or (
            openapi == "str" and isinstance(shape, tuple)
        ), at
        return None
    model = getattr(models, openapi)
    fields = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    ours = {name.removesuffix("!"): inner for name, inner in shape.items()}
    assert set(ours) == set(fields) - LEFT_OUT.get(openapi, set()), at
    for name, inner in ours.items():
        _compare(inner, fields[name], f"{at}.{name}")
    return None


def test_a_field_that_the_model_must_have_must_be_there():
    """The client's constructors refuse None where a field is required."""
    for model, shape in (("V1VolumeMount", VOLUME_MOUNT), ("V1Volume", VOLUME)):
        needed = {name[:-1] for name in shape if name.endswith("!")}
        for name in needed:
            with pytest.raises(ValueError, match=name):
                conform({}, {f"{name}!": str}, name)
        with pytest.raises(ValueError, match="must not be `None`"):
            getattr(models, model)()
