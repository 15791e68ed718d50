"""The connection to the Kubernetes API: which server, as whom, in which namespace.

Belongs here: finding the configuration. Does not belong here: any call.
"""

from __future__ import annotations

# The client's package has no types.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false
import os
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod finds the name of its own namespace."""


def api_client() -> ApiClient:
    """A client of the cluster: the file that ``FT_KUBECONFIG`` names, else the pod's own account.

    Each call gives a client of its own; nothing global is configured.

    Raises:
        UserError: there is neither.
    """
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    settings = client.Configuration()
    try:
        if file := os.environ.get("FT_KUBECONFIG"):
            config.load_kube_config(config_file=file, client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except ConfigException as error:
        raise UserError(
            f"no Kubernetes cluster is configured ({error}): run inside a pod that has a service "
            "account, or set FT_KUBECONFIG to a kubeconfig file"
        ) from error
    return client.ApiClient(settings)


def namespace() -> str:
    """The namespace of the platform's pods: ``FT_NAMESPACE``, else the pod's own, else default."""
    if given := os.environ.get("FT_NAMESPACE"):
        return given
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"
