"""All that people and programs see of a platform who may not read its secrets.

Belongs here: where to look. What must not be found there, and how it is searched: canary.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.canary import Seen, in_bucket, in_graphql, in_postgres, in_tree, in_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster.platform import Platform

_KINDS = (
    "api/v1/namespaces/{}/pods",
    "api/v1/namespaces/{}/events",
    "api/v1/namespaces/{}/configmaps",
    "apis/batch/v1/namespaces/{}/jobs",
)


def visible(here: Platform) -> Iterator[Seen]:
    """Objects and logs of Kubernetes, Dagster's database, the bucket, the volume, the UI."""
    yield from _objects(here)
    yield from _logs(here)
    yield from in_postgres(here.postgres.url)
    yield from in_bucket(here.s3_client(), here.bucket)
    yield from in_tree(here.tiny.root)
    yield from in_graphql(here.url)


def _objects(here: Platform) -> Iterator[Seen]:
    """As the API gives them now, and the pods as they were."""
    api = here.agent.core.api_client
    for kind in _KINDS:
        path = "/" + kind.format(here.namespace)
        answer, _, _ = api.call_api(
            path, "GET", auth_settings=["BearerToken"], _preload_content=False
        )
        yield path, answer.data
    for pod in here.agent.pods_ever(here.namespace):
        yield from in_values(f"pod {pod.metadata.name}", api.sanitize_for_serialization(pod))


def _logs(here: Platform) -> Iterator[Seen]:
    for pod in here.agent.pods_ever(here.namespace):
        name = pod.metadata.name
        yield f"log of {name}", here.agent.log(here.namespace, name).encode()
