"""Volumes and where they appear in the container, by Kubernetes' rules beyond their shape."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from ft_assets.config.kubernetes import names
from ft_assets.config.kubernetes.quantity import parse_quantity
from ft_assets.config.kubernetes.shapes import VOLUME, VOLUME_MOUNT, VOLUME_SOURCES
from ft_assets.config.kubernetes.structure import conform

OURS = ("shm", "tmp")
"""Volumes that the platform adds itself."""


def volumes(given: object) -> list[dict[str, Any]]:
    """Volumes in Kubernetes' spelling.

    Raises:
        ValueError: Kubernetes would refuse one, or two have one name.
    """
    made: list[dict[str, Any]] = conform(given, [VOLUME], "volumes")
    seen: set[str] = set()
    for index, volume in enumerate(made):
        at, name = f"volumes[{index}]", names.dns_label(volume["name"])
        if name in seen:
            raise ValueError(f"{at}: {name!r} is declared twice: rename one of them")
        if name in OURS:
            raise ValueError(
                f"{at}: {name!r} is a volume of the platform's own (/dev/shm, /tmp): rename yours"
            )
        seen.add(name)
        sources = [source for source in VOLUME_SOURCES if source in volume]
        if len(sources) != 1:
            said = "has no source" if not sources else f"has the sources {' and '.join(sources)}"
            raise ValueError(
                f"{at} ({name}) {said}: give it one, such as persistentVolumeClaim: "
                "{claimName: NAME} or emptyDir: {}"
            )
        _source(sources[0], volume[sources[0]], f"{at}.{sources[0]}")
    return made


def _source(kind: str, source: Mapping[str, Any], at: str) -> None:
    if kind == "emptyDir" and "sizeLimit" in source:
        try:
            parse_quantity(source["sizeLimit"])
        except ValueError as error:
            raise ValueError(f"{at}.sizeLimit {error}") from None
    reference = {"persistentVolumeClaim": "claimName", "secret": "secretName", "configMap": "name"}
    if kind in reference:
        named = source.get(reference[kind])
        if not named:
            raise ValueError(f"{at}.{reference[kind]} is missing: name the object")
        names.dns_subdomain(named)


def volume_mounts(given: object) -> list[dict[str, Any]]:
    """Mounts in Kubernetes' spelling.

    Raises:
        ValueError: Kubernetes would refuse one, or two stand at one place.
    """
    made: list[dict[str, Any]] = conform(given, [VOLUME_MOUNT], "volume_mounts")
    for index, mount in enumerate(made):
        at = f"volume_mounts[{index}]"
        names.mount_path(mount["mountPath"])
        if "subPath" in mount and "subPathExpr" in mount:
            raise ValueError(f"{at} has subPath and subPathExpr: keep one")
        sub_path: str = mount.get("subPath", mount.get("subPathExpr", ""))
        if sub_path.startswith("/") or ".." in sub_path.split("/"):
            raise ValueError(f"{at}.subPath is {sub_path!r}: relative to the volume, without '..'")
    return made


def refuse_mounts_that_do_not_fit(
    declared: Sequence[Mapping[str, Any]],
    mounts: Sequence[Mapping[str, Any]],
    pvcs: Mapping[str, str],
) -> None:
    """Every mount names a declared volume, and no two stand at one place.

    Raises:
        ValueError: otherwise; the message names the mount and the volumes that there are.
    """
    known = [volume["name"] for volume in declared]
    taken: dict[str, str] = {}
    places = [
        *(
            (f"volume_mounts[{index}]", mount["name"], mount["mountPath"])
            for index, mount in enumerate(mounts)
        ),
        *((f"pvcs.{claim}", None, path) for claim, path in pvcs.items()),
    ]
    for at, volume, path in places:
        if volume is not None and volume not in known:
            declared_ones = f"there are {', '.join(known)}" if known else "there is none"
            raise ValueError(
                f"{at} mounts {volume!r}, which volumes does not declare ({declared_ones}): "
                "declare it there, or name a claim in pvcs"
            )
        place = path.rstrip("/")
        if place in taken:
            raise ValueError(f"{at} and {taken[place]} both mount at {path}: move one of them")
        taken[place] = at


def pvcs(given: dict[str, str]) -> dict[str, str]:
    """Claims and the places at which they appear.

    Raises:
        ValueError: a claim's name or a path is none.
    """
    for claim, path in given.items():
        names.dns_subdomain(claim)
        names.mount_path(path)
    return given


def volume_of_claim(claim: str) -> str:
    """The volume's name for a claim: the claim's own where a volume may have it."""
    name = f"pvc-{claim}"
    if len(name) <= names.MAX_LABEL and "." not in name:
        return name
    return f"pvc-{hashlib.sha256(claim.encode()).hexdigest()[:16]}"
