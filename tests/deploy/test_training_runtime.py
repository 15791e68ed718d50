"""The runtime of trainings on several nodes is one that the Kubeflow Trainer takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import celpy
import jsonschema
import pytest

from ft_assets.config import KubernetesConfig
from tests.deploy.manifests import named
from tests.deploy.pod_security import breaches
from tests.support.cel import cel_environment
from tests.support.trainer_crds import nodes, schema, strict

RUNTIME = named("ClusterTrainingRuntime", "training-hub")
(JOB,) = RUNTIME["spec"]["template"]["spec"]["replicatedJobs"]
CEL = cel_environment()
POD: dict[str, Any] = JOB["template"]["spec"]["template"]["spec"]


def test_it_has_no_field_that_the_trainer_does_not_know():
    # Not jsonschema.validate: it would check the schema itself each time, and it is large.
    validator = jsonschema.Draft202012Validator(strict(schema("clustertrainingruntimes")))
    validator.validate(RUNTIME)
    wrong = {**RUNTIME, "spec": {**RUNTIME["spec"], "mlPolicies": {}}}
    with pytest.raises(jsonschema.ValidationError, match="mlPolicies"):
        validator.validate(wrong)


def test_it_is_the_one_that_a_step_asks_for():
    assert RUNTIME["metadata"]["name"] == KubernetesConfig().runtime
    assert RUNTIME["spec"]["mlPolicy"]["torch"] == {}
    assert JOB["name"] == "node"
    assert [container["name"] for container in POD["containers"]] == ["node"]
    labels = JOB["template"]["metadata"]["labels"]
    assert labels["trainer.kubeflow.org/trainjob-ancestor-step"] == "trainer"


def test_a_node_has_no_rights_and_no_token():
    assert POD["serviceAccountName"] == "ft-assets-step"
    assert POD["automountServiceAccountToken"] is False
    assert list(breaches(POD)) == []


def test_every_node_sees_ft_home():
    (container,) = POD["containers"]
    home = named("ConfigMap", "ft-assets-env")["data"]["FT_HOME"]
    assert home in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_a_lost_node_is_no_second_training_of_its_own():
    assert JOB["template"]["spec"]["backoffLimit"] == 0
    assert POD["restartPolicy"] == "Never"


def test_the_rules_of_the_trainer_hold():
    assert broken_rules(RUNTIME) == []
    two = {"numNodes": 1, "torch": {}, "mpi": {}}
    wrong = {**RUNTIME, "spec": {**RUNTIME["spec"], "mlPolicy": two}}
    assert broken_rules(wrong) == ["Only one of the policy can be configured"]


def broken_rules(runtime: dict[str, Any]) -> list[str]:
    """Messages of the definition's CEL rules that a runtime breaks."""
    tried, broken = 0, list[str]()
    for path, part in nodes(schema("clustertrainingruntimes")):
        for rule in part.get("x-kubernetes-validations", []):
            for value in values_at(runtime, path):
                tried += 1
                program = CEL.program(CEL.compile(rule["rule"]))
                if not program.evaluate({"self": celpy.json_to_cel(value)}):
                    broken.append(rule["message"])
    assert tried
    return broken


def values_at(thing: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Every value at a path of a schema; `*` is each element of a list."""
    if not path:
        yield thing
    elif path[0] == "*":
        for each in thing:
            yield from values_at(each, path[1:])
    elif isinstance(thing, dict) and path[0] in thing:
        yield from values_at(thing[path[0]], path[1:])
