"""Pipeline and plan as the request for a TrainJob."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.kubernetes.train_job import train_job_request
from resources.errors import UserError
from resources.launcher.trainjob.request import TrainJobRequest

RUN_DIR = Path("/ft/runs/bot-finetuned_model-all-0123")


def request(**kubernetes: Any) -> TrainJobRequest:
    """Only what the request is made from, of a pipeline and its plan."""
    config = KubernetesConfig(
        **{"workers": 2, "gpus_per_worker": 8, "pvcs": {"ft-home": "/ft"}, **kubernetes}
    )
    training = SimpleNamespace(hf_token_env="HUB_TOKEN")
    spec: Any = SimpleNamespace(name="bot", recipe=None, kubernetes=config, training=training)
    plan: Any = SimpleNamespace(fingerprint="0123" * 16, parameters={"nproc_per_node": 8})
    return train_job_request(
        spec, plan, asset="finetuned_model", run_dir=RUN_DIR, run_id="r1", namespace="ml"
    )


def test_nodes_processes_and_gpus_of_each():
    made = request(cpu="16", memory="256Gi")
    assert (made.nodes, made.procs_per_node) == (2, 8)
    assert made.resources["requests"] == {
        "cpu": "16", "memory": "256Gi", "nvidia.com/gpu": "8"
    }  # fmt: skip


def test_labels_tell_pipeline_asset_run_and_work():
    made = request(labels={"team": "support"})
    assert made.all_labels == {
        "app.kubernetes.io/managed-by": "ft-assets",
        "ft-assets/pipeline": "bot",
        "ft-assets/asset": "finetuned_model",
        "ft-assets/fingerprint": ("0123" * 16)[:63],
        "dagster/run-id": "r1",
        "team": "support",
    }
    assert made.name == request(cpu="1").name  # where it runs is not what it is


def test_the_hub_token_is_a_reference():
    made = request(hf_token_secret="hf")
    (token,) = [entry for entry in made.env if entry["name"] == "HUB_TOKEN"]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "hf", "key": "HF_TOKEN"}}


def test_placement_and_storage_go_with_the_pods():
    made = request(
        node_selector={"gpu": "h200"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        service_account="trainer",
        image_pull_secret="registry",
    )
    assert made.pod["nodeSelector"] == {"gpu": "h200"}
    assert made.pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert made.pod["serviceAccountName"] == "trainer"
    assert made.pod["imagePullSecrets"] == [{"name": "registry"}]
    assert {"name": made.pod["volumes"][0]["name"], "mountPath": "/ft"} in made.volume_mounts
    assert made.shared_folder == str(RUN_DIR)


def test_the_pods_have_time_to_save_a_checkpoint_before_they_are_killed():
    assert request().pod["terminationGracePeriodSeconds"] == 90
    assert request(termination_grace=600).pod["terminationGracePeriodSeconds"] == 600


def test_a_queue_admits_the_job():
    assert not request().suspend
    assert request(labels={"kueue.x-k8s.io/queue-name": "gpus"}).suspend


def test_the_deadlines_are_the_blocks():
    made = request(queue_timeout=60, deadline=3600)
    assert (made.queue_seconds, made.run_seconds) == (60, 3600)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"priority_class": "high"}, "priority_class"),
        ({"image_pull_policy": "Always"}, "image_pull_policy"),
        ({"env_from_secrets": ["aws"]}, "env_from_secrets"),
        ({"scheduler": "volcano", "runtime_class": "nvidia"}, "runtime_class, scheduler"),
    ],
)
def test_what_a_trainjob_cannot_carry_is_refused_by_the_parameters_name(given, named):
    with pytest.raises(UserError, match=rf"cannot be given {named}.*kubernetes\.workers to 1"):
        request(**given)
