"""The adapter for Kubeflow's Model Registry, a server that many teams and tools share.

``resource.py`` is the port's methods, ``registering.py`` and ``stages.py`` how writes converge,
``history.py`` the former champions, ``api.py`` the server's requests, ``records.py`` its answers,
``properties.py`` its typed properties, ``transport.py``, ``address.py`` and ``token.py`` the way to
the server.
"""

from resources.registry.kubeflow.resource import KubeflowRegistry

__all__ = ["KubeflowRegistry"]
