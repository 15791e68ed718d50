"""What a container's spec says, as a process on this machine understands it.

Belongs here: environment, command and volumes of a container. Running it: pod.py.

Limits: the process sees this machine's files. A volume is a directory of its own, and wherever an
environment variable, an argument or the working directory begins with its mount path, the
directory's path stands instead; a program that has a mount path built in does not find it. What is
mounted at /tmp is TMPDIR, and paths below /tmp are this machine's. Projected and CSI volumes are
empty directories, sub paths are ignored.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubernetes.client import CoreV1Api, V1Container, V1EnvVar, V1Pod, V1Volume

_REFERENCE = re.compile(r"\$(\$)?\((\w+)\)")
# What every process of this machine needs; everything else comes from the pod.
_FROM_THIS_MACHINE = ("LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")


class ConfigError(Exception):
    """A container names something that is not there: CreateContainerConfigError."""


class MountError(Exception):
    """A volume names something that is not there: the kubelet waits, with a FailedMount event."""


@dataclass(frozen=True)
class Runnable:
    """A container, ready to be started as a process."""

    command: list[str]
    environment: dict[str, str]
    folder: Path


def runnable(
    core: CoreV1Api,
    pod: V1Pod,
    container: V1Container,
    mounted: Mapping[str, Path],
    given: Mapping[str, str],
) -> Runnable:
    """The process that a container is; ``given`` is added to its environment.

    Raises:
        ConfigError: a secret, a config map or a key of one is not there, or there is no command.
    """
    folders = {
        mount.mount_path: mounted[mount.name]
        for mount in container.volume_mounts or []
        if mount.name in mounted
    }
    own_temporary = folders.pop("/tmp", None)
    if own_temporary is not None:
        given = {**given, "TMPDIR": str(own_temporary)}
    declared = _declared_environment(core, pod, container)
    expanded: dict[str, str] = {}
    for name, value in declared.items():
        expanded[name] = _relocated(_expanded(value, expanded), folders)
    words = [*(container.command or []), *(container.args or [])]
    if not words:
        raise ConfigError("no command specified")  # the agent has no image to take one from
    return Runnable(
        command=[_relocated(_expanded(word, expanded), folders) for word in words],
        environment={**_of_this_machine(), **given, **expanded},
        folder=Path(_relocated(container.working_dir or given["HOME"], folders)),
    )


def mount(
    core: CoreV1Api, pod: V1Pod, folder: Path, claim_folder: Callable[[str, str], Path]
) -> dict[str, Path]:
    """The directory of each volume of a pod, by the volume's name.

    Raises:
        MountError: a secret or a config map is not there.
    """
    return {
        volume.name: _directory(core, pod, volume, folder / "volumes" / volume.name, claim_folder)
        for volume in pod.spec.volumes or []
    }


def _directory(
    core: CoreV1Api,
    pod: V1Pod,
    volume: V1Volume,
    own: Path,
    claim_folder: Callable[[str, str], Path],
) -> Path:
    namespace = pod.metadata.namespace
    if volume.host_path:
        return Path(volume.host_path.path)
    if volume.persistent_volume_claim:
        return claim_folder(namespace, volume.persistent_volume_claim.claim_name)
    own.mkdir(parents=True, exist_ok=True)
    if volume.secret or volume.config_map:
        kind = "secret" if volume.secret else "configmap"
        source = volume.secret or volume.config_map
        name = source.secret_name if volume.secret else source.name
        values = _read(core, kind, namespace, name)
        if values is None and not source.optional:
            raise MountError(f'MountVolume.SetUp failed for volume "{volume.name}" : '
                             f'{kind} "{name}" not found')  # fmt: skip
        paths = {item.key: item.path for item in source.items or []}
        for key, value in (values or {}).items():
            if not paths or key in paths:
                (own / paths.get(key, key)).write_text(value)
    return own


def _declared_environment(core: CoreV1Api, pod: V1Pod, container: V1Container) -> dict[str, str]:
    found: dict[str, str] = {}
    namespace = pod.metadata.namespace
    for source in container.env_from or []:
        kind = "secret" if source.secret_ref else "configmap"
        reference = source.secret_ref or source.config_map_ref
        values = _read(core, kind, namespace, reference.name)
        if values is None and not reference.optional:
            raise ConfigError(f'{kind} "{reference.name}" not found')
        found |= {(source.prefix or "") + name: value for name, value in (values or {}).items()}
    for variable in container.env or []:
        value = _value(core, pod, container, variable)
        if value is not None:
            found[variable.name] = value
    return found


def _value(core: CoreV1Api, pod: V1Pod, container: V1Container, variable: V1EnvVar) -> str | None:
    source = variable.value_from
    if source is None:
        return variable.value or ""
    if source.field_ref:
        return _field(pod, source.field_ref.field_path)
    if source.resource_field_ref:
        return _resource(container, source.resource_field_ref.resource)
    kind = "secret" if source.secret_key_ref else "configmap"
    reference = source.secret_key_ref or source.config_map_key_ref
    values = _read(core, kind, pod.metadata.namespace, reference.name)
    if values is not None and reference.key in values:
        return values[reference.key]
    if reference.optional:
        return None
    if values is None:
        raise ConfigError(f'{kind} "{reference.name}" not found')
    raise ConfigError(
        f"couldn't find key {reference.key} in {kind} {pod.metadata.namespace}/{reference.name}"
    )


def _field(pod: V1Pod, path: str) -> str:
    labelled = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if labelled:
        return (getattr(pod.metadata, labelled[1]) or {}).get(labelled[2], "")
    fields: dict[str, Any] = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.podIP": "127.0.0.1",
        "status.hostIP": "127.0.0.1",
    }
    if path not in fields:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return fields[path]


def _resource(container: V1Container, resource: str) -> str:
    kind, name = resource.split(".", 1)
    return str((getattr(container.resources, kind, None) or {}).get(name, ""))


def _read(core: CoreV1Api, kind: str, namespace: str, name: str) -> dict[str, str] | None:
    """The values of a secret or config map; None when it is not there."""
    from kubernetes.client import ApiException

    try:
        if kind == "configmap":
            return dict(core.read_namespaced_config_map(name, namespace).data or {})
        data = core.read_namespaced_secret(name, namespace).data or {}
    except ApiException as error:
        if error.status == 404:
            return None
        raise
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def _expanded(text: str, values: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced; ``$$(NAME)`` and unknown names stay, as Kubernetes does it."""

    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        return values.get(found[2], found[0])

    return _REFERENCE.sub(replaced, text)


def _relocated(text: str, folders: Mapping[str, Path]) -> str:
    for mount_path, folder in folders.items():
        root = mount_path.rstrip("/")
        if text == root or text.startswith(root + "/"):
            return str(folder) + text[len(root) :]
    return text


def _of_this_machine() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _FROM_THIS_MACHINE if name in os.environ}
    programs = Path(sys.executable).parent
    return {**kept, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
