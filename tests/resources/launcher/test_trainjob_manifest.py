"""A request as a TrainJob: every field in its place, by the CRD's schema and by its CEL rules."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import celpy
import jsonschema
import pytest

from resources.errors import UserError
from resources.launcher.trainjob.manifest import PATCHABLE
from resources.launcher.trainjob.request import job_name
from tests.support.cel import cel_environment
from tests.support.train_job_examples import FINGERPRINT, full_manifest, full_request
from tests.support.trainer_crds import nodes, schema, strict

_JOB_SET = ("spec", "runtimePatches", "*", "trainingRuntimeSpec", "template", "spec")
POD_PATH = (*_JOB_SET, "replicatedJobs", "*", "template", "spec", "template")


def patched_pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod template in the one runtime patch."""
    (patch,) = manifest["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert job["name"] == "node"
    return job["template"]["spec"]["template"]


def test_the_trainer_has_image_command_nodes_and_processes():
    trainer = full_manifest()["spec"]["trainer"]
    assert trainer["image"] == "registry.example.com/ft/trainer:1.0"
    assert trainer["command"] == [
        "python", "-m", "ft_assets.training.node", "/ft/runs/x/plan.json"
    ]  # fmt: skip
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (4, 8)
    assert trainer["resourcesPerNode"] == full_request().resources


def test_a_secret_stays_a_reference():
    manifest = full_manifest()
    (token,) = [e for e in manifest["spec"]["trainer"]["env"] if e["name"] == "HF_TOKEN"]
    assert token == {
        "name": "HF_TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "HF_TOKEN"}},
    }


def test_each_variable_is_there_once_and_the_launchers_own_win():
    """The API refuses two entries of one name."""
    env = full_manifest(env=({"name": "TQDM_DISABLE", "value": "0"},))["spec"]["trainer"]["env"]
    assert [(e["name"], e["value"]) for e in env] == [
        ("TQDM_DISABLE", "1"),
        ("DAGSTER_PIPES_MESSAGES", "eJyr"),
    ]


def test_pod_and_mounts_go_through_one_runtime_patch():
    asked, pod = full_request(), patched_pod(full_manifest())
    spec = dict(pod["spec"])
    (container,) = spec.pop("containers")
    assert spec == asked.pod
    assert container == {
        "name": "node",
        "volumeMounts": list(asked.volume_mounts),
        "securityContext": asked.security_context,
    }
    assert pod["metadata"]["annotations"] == asked.annotations


def test_job_and_pods_carry_the_same_labels_but_for_the_queues():
    """Kueue would queue each pod that has its label, beside the job."""
    manifest = full_manifest()
    labels = manifest["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "gpus"
    of_pods = patched_pod(manifest)["metadata"]["labels"]
    assert of_pods == {k: v for k, v in labels.items() if k != "kueue.x-k8s.io/queue-name"}
    assert labels["app.kubernetes.io/managed-by"] == "ft-assets"
    assert FINGERPRINT.startswith(labels["ft-assets/fingerprint"])
    assert all(len(value) <= 63 for value in labels.values())


def test_a_job_for_a_queue_begins_suspended_and_ends_by_itself_when_nobody_looks():
    spec = full_manifest()["spec"]
    assert spec["suspend"] is True
    assert spec["activeDeadlineSeconds"] == 3600 + 7200
    assert spec["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "ClusterTrainingRuntime",
        "name": "training-hub",
    }


def test_what_is_not_asked_for_is_left_to_the_runtime():
    manifest = full_manifest(
        image=None, pod={}, volume_mounts=(), security_context=None, annotations={}
    )
    assert "image" not in manifest["spec"]["trainer"]
    assert set(patched_pod(manifest)) == {"metadata"}


def test_a_pod_field_that_a_trainjob_cannot_carry_is_refused_by_name():
    with pytest.raises(UserError, match=r"cannot set hostIPC, priorityClassName .*training-hub"):
        full_manifest(pod={"priorityClassName": "high", "hostIPC": True})


def test_a_field_that_the_api_does_not_know_is_refused_by_its_path_and_not_dropped():
    typo = {"volumes": [{"name": "home"}, {"name": "shm", "emptyDir": {"sizeLimits": "1Gi"}}]}
    with pytest.raises(UserError, match=r"knows no field .*volumes\[1\]\.emptyDir\.sizeLimits: "):
        full_manifest(pod=typo)


def test_the_name_is_the_same_for_the_same_work_and_fits_everywhere():
    name = job_name("Ünser Support_Bot für alle Kunden und Partner", "drop", FINGERPRINT)
    assert name == job_name("Ünser Support_Bot für alle Kunden und Partner", "drop", FINGERPRINT)
    assert name != job_name("Ünser Support_Bot für alle Kunden und Partner", "other", FINGERPRINT)
    assert len(f"{name}-node-0-999") <= 63
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert job_name("a", "bc") != job_name("a", "b", "c")


# The CRD: its schema.


def check(manifest: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(strict(schema())).validate(manifest)


def test_the_crd_knows_every_field():
    check(full_manifest())
    check(full_manifest(pod={}, volume_mounts=(), resources={}, env=(), labels={}))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["spec", "podTemplateOverrides"], [], "podTemplateOverrides"),
        (["spec", "trainer", "numNodes"], "2", "is not of type 'integer'"),
        (["spec", "trainer", "image"], "x" * 501, "is too long"),
        (["spec", "activeDeadlineSeconds"], 0, "is less than the minimum"),
        (["spec", "runtimeRef", "name"], "", "should be non-empty"),
    ],
)
def test_the_crd_refuses_what_is_not_so(path, value, message):
    manifest = full_manifest()
    part = manifest
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError, match=message):
        check(manifest)


def test_the_fields_that_a_patch_may_set_are_the_crds_own():
    by_path = dict(nodes(schema()))
    fields = set(by_path[(*POD_PATH, "spec")]["properties"])
    assert fields - {"containers", "initContainers"} == PATCHABLE


# The CRD: its CEL rules, which old API servers cannot evaluate.


def rules() -> list[tuple[tuple[str, ...], str, str]]:
    """Each rule with its path and message."""
    return [
        (path, rule["rule"], rule["message"])
        for path, part in nodes(schema())
        for rule in part.get("x-kubernetes-validations", [])
    ]


def values_at(value: Any, path: tuple[str, ...]) -> list[Any]:
    """What stands at a path; nothing where the manifest has no such field."""
    if not path:
        return [value]
    head, *rest = path
    if head == "*":
        return [found for one in value for found in values_at(one, tuple(rest))]
    return values_at(value[head], tuple(rest)) if head in value else []


def holds(rule: str, value: Any, old: Any) -> bool:
    environment = cel_environment()
    program = environment.program(environment.compile(rule))
    names = {"self": celpy.json_to_cel(value), "oldSelf": celpy.json_to_cel(old)}
    return bool(program.evaluate(names))


def violations(manifest: dict[str, Any], old: dict[str, Any] | None = None) -> set[str]:
    """Messages of the rules that a manifest breaks, on its creation or as a change of ``old``."""
    broken: set[str] = set()
    for path, rule, message in rules():
        if "oldSelf" in rule and old is None:
            continue  # a rule of changes does not apply to a creation
        before = values_at(old or manifest, path)
        for value, old_value in zip(values_at(manifest, path), before, strict=True):
            if not holds(rule, value, old_value):
                broken.add(f"{'.'.join(path)}: {message}")
    return broken


def test_every_rule_holds_for_our_job_when_it_is_made_and_when_it_is_resumed():
    ours = full_manifest()
    assert violations(ours) == set()
    resumed = copy.deepcopy(ours)
    resumed["spec"]["suspend"] = False
    resumed["metadata"]["labels"]["dagster/run-id"] = "another"
    assert violations(resumed, ours) == set()


@pytest.mark.parametrize("name", ["0abc", "Abc", "abc-", "a_b", "a" * 64])
def test_a_name_that_is_no_dns_label_breaks_a_rule(name):
    spoiled = full_manifest()
    spoiled["metadata"]["name"] = name
    (broken,) = violations(spoiled)
    assert "metadata.name must" in broken


def test_no_process_breaks_a_rule():
    (broken,) = violations(full_manifest(procs_per_node=0))
    assert broken.endswith("numProcPerNode must be greater than or equal to 1")


CHANGED = {
    "spec.activeDeadlineSeconds": {"run_seconds": 1.0},
    "spec.runtimeRef": {"runtime": "torch-distributed"},
    "spec.trainer": {"nodes": 2},
    **{
        ".".join((*POD_PATH, "spec", field)): {"pod": {**full_request().pod, field: value}}
        for field, value in {
            "imagePullSecrets": [{"name": "other"}],
            "securityContext": {"runAsNonRoot": False},
            "serviceAccountName": "other",
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "home", "emptyDir": {}}],
        }.items()
    },
    ".".join((*POD_PATH, "spec", "containers")): {"volume_mounts": ()},
}


@pytest.mark.parametrize("path", CHANGED)
def test_what_is_fixed_once_made_cannot_be_changed(path):
    assert violations(full_manifest(**CHANGED[path]), full_manifest()) == {
        f"{path}: field is immutable"
    }


def test_there_is_a_spoiled_job_for_every_rule_that_touches_ours():
    ours = full_manifest()
    touching = {".".join(path) for path, _, _ in rules() if values_at(ours, path)}
    shown = {"", "spec.trainer.numProcPerNode", *CHANGED}
    assert touching - shown == {
        "spec.runtimePatches.*.manager"
    }  # the key: another is another entry


def test_the_manifest_is_plain_json():
    manifest = full_manifest()
    assert json.loads(json.dumps(manifest)) == manifest
