"""What the code location consists of: the resources, and the definitions of all pipelines.

Nothing is made on import; ``definitions.py`` makes the one that Dagster loads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from ft_assets.cluster.reaper import reaper_sensors
from ft_assets.config import Pipeline, find_pipelines
from ft_assets.executor import executor
from ft_assets.pipeline import pipeline_definitions
from resources.home import CHECKOUT, Home, ft_home
from resources.launcher.process import ProcessLauncher
from resources.registry import RegistryHub
from resources.sources import Sources
from resources.store import ArtifactStore


def default_resources() -> dict[str, Any]:
    """The resources as the environment asks for them (FT_HOME, FT_STORE, FT_DATA_ROOTS ...)."""
    home = ft_home()
    roots = os.environ.get("FT_DATA_ROOTS", "")
    return {
        "home": Home(path=str(home)),
        "sources": Sources(
            data_roots=[root for root in roots.split(os.pathsep) if root]
            or [str(CHECKOUT), str(home)],
            pvc_root=os.environ.get("FT_PVC_ROOT", ""),
            allow_private_addresses=os.environ.get("FT_ALLOW_PRIVATE_ADDRESSES") == "1",
        ),
        "store": ArtifactStore(root=os.environ.get("FT_STORE") or str(home / "artifacts")),
        "launcher": ProcessLauncher(),
        "registry": RegistryHub(path=str(home / "registry.db")),
    }


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All pipelines that there are; tests put other resources in place of some."""
    return dg.Definitions.merge(
        dg.Definitions(
            resources={**default_resources(), **(resource_overrides or {})},
            executor=executor(),
            sensors=reaper_sensors(),
        ),
        *(pipeline_definitions(pipeline) for pipeline in _pipelines_of_this_process()),
    )


def _pipelines_of_this_process() -> list[Pipeline]:
    """All that there are; in a pod of a run the run's own, because nothing there needs another.

    dagster-k8s names the job in the environment of a run's pods; Dagster's own jobs (of several
    pipelines' assets) have the name of none.
    """
    found = find_pipelines()
    job = os.environ.get("DAGSTER_RUN_JOB_NAME")
    return [pipeline for pipeline in found if pipeline.spec.name == job] or found
