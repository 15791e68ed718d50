"""What the ``kubernetes`` block takes and refuses: by name, by Kubernetes' rules, with a remedy."""

from __future__ import annotations

import json
import textwrap

import pytest
import yaml
from pydantic import ValidationError

from ft_assets.config import KubernetesConfig, PipelineSpec
from ft_assets.config.kubernetes import OTHER_STEPS
from ft_assets.config.launchpad import effective_spec
from resources.errors import UserError

MOUNT = {"name": "data", "mountPath": "/data"}
SPREAD = {"topologyKey": "kubernetes.io/hostname"}
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def node_terms(*expressions):
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": expressions}]}}}


# parameter, value, what the message says
REFUSED = [
    ("cpu", "0", "must be more than 0"),
    ("cpu", "-1", "no Kubernetes quantity"),
    ("cpu", "0.5m", "finer than a thousandth of a CPU"),
    ("cpu", "4 cores", "no Kubernetes quantity"),
    ("cpu", "2000", "write 2000m if you mean thousandths"),
    ("cpu", True, "write 2, 500m or 64Gi"),
    ("cpu", None, "write 2, 500m or 64Gi"),
    ("cpu_limit", "2", "cpu_limit (2) is below cpu (4)"),
    ("memory", "64", "that is 64 bytes, with which nothing starts; write the unit, such as 64Gi"),
    ("memory", 64, "such as 64Gi"),
    ("memory", "500m", "that is 0.5 bytes"),
    ("memory", "64GB", "no Kubernetes quantity"),
    ("memory", "64gi", "no Kubernetes quantity"),
    ("memory", "1e30", "more than Kubernetes can count"),
    ("memory_limit", "32Gi", "memory_limit (32Gi) is below memory (64Gi)"),
    ("shared_memory", "65Gi", "more than the memory of the pod (64Gi), of which it is a part"),
    ("ephemeral_storage", "10", "such as 10Gi"),
    ("gpus_per_worker", 1.5, "valid integer"),
    ("gpus_per_worker", "0.5", "valid integer"),
    ("gpu_resource", "gpu", "write DOMAIN/NAME"),
    ("gpu_resource", "kubernetes.io/gpu", "no extended resource"),
    ("extended_resources", {"hca": 1}, "no extended resource"),
    ("extended_resources", {"rdma/hca": 0}, "ask for at least 1"),
    ("extended_resources", {"nvidia.com/gpu": 1}, "which is gpu_resource"),
    ("image", "Registry/Train:1", "no image reference"),
    ("image", "train:a b", "no image reference"),
    ("image", "", "no image reference"),
    ("image_pull_policy", "always", "'Always'"),
    ("image_pull_secret", "Pull_Me", "no DNS-1123 name"),
    ("image_pull_secrets", ["a", "b/c"], "'b/c' is no DNS-1123 name"),
    ("service_account", "trainer ", "no DNS-1123 name"),
    ("priority_class", "-high", "no DNS-1123 name"),
    ("hf_token_secret", "HF_TOKEN", "no DNS-1123 name"),
    ("env", {"1A": "x"}, "not the name of an environment variable"),
    ("env", {"A": 1}, "env.A must be a text: put the value between quotes"),
    ("env", {"API_KEY": "x"}, "secretKeyRef: {name: SECRET, key: KEY}"),
    ("env", {"A": {"secretKeyReff": {}}}, "did you mean secretKeyRef?"),
    ("env", {"A": {"secretKeyRef": {"name": "s"}}}, "env.A.secretKeyRef.key is missing"),
    ("env", {"A": {"secretKeyRef": {"name": "S", "key": "k"}}}, "'S' is no DNS-1123 name"),
    ("env", {"A": {}}, "takes one of secretKeyRef"),
    ("env", "A=b,C=d", "env must be a map"),
    ("env", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], "sets A twice"),
    ("env", [{"name": "A", "valu": "1"}], "takes name, and value or valueFrom"),
    ("env_from_secrets", ["A"], "no DNS-1123 name"),
    ("labels", {"team": "a b"}, "not a label value"),
    ("labels", {"t" * 64: "a"}, "not a Kubernetes label key"),
    ("labels", {"ft-assets/asset": "x"}, "written by the platform on every pod"),
    ("labels", {"dagster/run-id": "x"}, "choose a key of your own"),
    ("annotations", {"a/b/c": "d"}, "not a Kubernetes label key"),
    ("annotations", {"a": "x" * 262_144}, "262145 bytes together"),
    ("node_selector", {"gpu": "a b"}, "not a label value"),
    ("tolerations", [{"efect": "NoSchedule"}], "tolerations[0].efect: there is no such field; did"),
    ("tolerations", [{"key": "a", "effect": "NoSchedul"}], "did you mean NoSchedule?"),
    ("tolerations", [{"effect": "NoSchedule"}], "name the taint's key"),
    ("tolerations", [{"key": "a", "operator": "Exists", "value": "b"}], "Exists takes none"),
    ("tolerations", [{"key": "a", "tolerationSeconds": 5}], "needs effect: NoExecute"),
    ("tolerations", [{"key": "a", "value": True}], "must be a text"),
    ("tolerations", [{"key": "a", "value": 1}], "put it between quotes"),
    ("tolerations", {"key": "a"}, "tolerations must be a list"),
    ("affinity", {"nodeAfinity": {}}, "did you mean nodeAffinity?"),
    ("affinity", {"nodeAffinity": {REQUIRED: {}}}, "nodeSelectorTerms is missing"),
    ("affinity", {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}, "is empty"),
    ("affinity", node_terms({"key": "a", "operator": "in"}), "did you mean In?"),
    ("affinity", node_terms({"key": "a", "operator": "In"}), "In needs at least one"),
    ("affinity", node_terms({"key": "a", "operator": "Gt", "values": ["x"]}), "one whole number"),
    (
        "affinity",
        node_terms({"key": "a", "operator": "Exists", "values": ["x"]}),
        "Exists takes none",
    ),
    (
        "affinity",
        {"podAntiAffinity": {PREFERRED: [{"weight": 101, "podAffinityTerm": SPREAD}]}},
        "weight is 101: 1 to 100",
    ),
    ("affinity", {"podAffinity": {REQUIRED: [{"topologyKey": ""}]}}, "topologyKey is empty"),
    ("volumes", [{"name": "A"}], "no DNS-1123 label"),
    ("volumes", [{"name": "a"}], "has no source"),
    ("volumes", [{"name": "a", "emptyDir": {}, "nfs": {"path": "/", "server": "s"}}], "sources"),
    ("volumes", [{"name": "a", "emptydir": {}}], "did you mean emptyDir?"),
    ("volumes", [{"name": "a", "emptyDir": {"sizeLimit": "1 G"}}], "sizeLimit is '1 G'"),
    ("volumes", [{"name": "a", "emptyDir": {}}] * 2, "declared twice"),
    ("volumes", [{"name": "tmp", "emptyDir": {}}], "the platform's own"),
    ("volumes", [{"name": "a", "persistentVolumeClaim": {"claim": "c"}}], "mean claimName?"),
    ("volumes", [{"name": "a", "secret": {}}], "secretName is missing"),
    ("volumes", [{"name": "a", "configMap": {"name": "B"}}], "'B' is no DNS-1123 name"),
    ("volume_mounts", [MOUNT], "mounts 'data', which volumes does not declare (there is none)"),
    ("volume_mounts", [{"name": "a", "mountPath": "data"}], "write an absolute path"),
    ("volume_mounts", [{"name": "a", "mountPath": "/a:b"}], "without ':'"),
    ("volume_mounts", [{"name": "a"}], "mountPath is missing"),
    ("volume_mounts", [{**MOUNT, "subPath": "../x"}], "relative to the volume"),
    ("volume_mounts", [{**MOUNT, "mountpath": "/x"}], "did you mean mountPath?"),
    ("pvcs", {"Models": "/mnt"}, "no DNS-1123 name"),
    ("pvcs", {"models": "mnt"}, "write an absolute path"),
    ("pvcs", {"a": "/mnt", "b": "/mnt/"}, "pvcs.b and pvcs.a both mount at /mnt/"),
    ("run_as_user", 0, "run_as_non_root forbids it"),
    ("add_capabilities", ["CAP_SYS_ADMIN"], "without CAP_"),
    ("deadline", 0, "greater than or equal to 1"),
    ("queue_timeout", 700_000, "queue_timeout (700000 s) is longer than deadline (604800 s)"),
    ("ttl", 0, "greater than or equal to 60"),
    ("steps", {"eval_rport": {}}, "'eval_rport' is no step: did you mean eval_report?"),
    ("steps", {"finetuned_model": {}}, "its pod is the block itself"),
    ("steps", {"eval_report": {"memroy": "1Gi"}}, "eval_report.memroy: there is no such parameter"),
    ("steps", {"eval_report": {"workers": 2}}, "eval_report.workers: there is no such parameter"),
    ("task_config", {"nodeSelectr": {}}, "did you mean nodeSelector?"),
    ("task_config", {"resources": {"limits": {"nvidia.com/gpu": "0.5"}}}, "whole numbers"),
    (
        "task_config",
        {"resources": {"limits": {"nvidia.com/gpu": 2}, "requests": {"nvidia.com/gpu": 1}}},
        "asks for 1 of nvidia.com/gpu and limits it to 2",
    ),
    ("task_config", {"resources": {"limits": {"hugepages": 2}}}, "extended resources"),
]


@pytest.mark.parametrize(("parameter", "value", "said"), REFUSED)
def test_a_value_that_kubernetes_would_refuse_is_refused_with_a_remedy(parameter, value, said):
    with pytest.raises(ValidationError) as error:
        KubernetesConfig.model_validate({parameter: value})
    (only,) = error.value.errors()
    assert said in only["msg"]
    assert parameter in (only["loc"] or only["msg"])


@pytest.mark.parametrize(
    ("parameter", "value", "kept"),
    [
        ("cpu", "500m", "500m"),
        ("cpu", 0.5, "0.5"),
        ("cpu", "1e1", "1e1"),
        ("memory", "1e11", "1e11"),
        ("memory", 68_719_476_736, "68719476736"),
        ("memory", "1.5Ti", "1.5Ti"),
        ("image", "localhost:5000/a/b__c.d@sha256:" + "0" * 64, None),
        ("image", "train", None),
        ("gpu_resource", "nvidia.com/mig-1g.10gb", None),
        ("annotations", {"Example.com/UPPER": "é" * 100}, None),
        ("node_selector", {"kubernetes.io/os": ""}, None),
        ("tolerations", [{"operator": "Exists"}], None),
        ("env", {"TOKENIZERS_PARALLELISM": "false"}, None),
        ("env", [{"name": "A", "value": "1"}, {"name": "B"}], {"A": "1", "B": ""}),
        (
            "env",
            [{"name": "A", "value_from": {"config_map_key_ref": {"name": "c", "key": "k"}}}],
            {"A": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        ),
        (
            "affinity",
            {"node_affinity": {}, "pod_affinity": None},
            {"nodeAffinity": {}},
        ),
        (
            "volumes",
            [{"name": "a", "empty_dir": {"size_limit": "1Gi"}}],
            [{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}],
        ),
    ],
)
def test_what_kubernetes_takes_is_taken_and_spelt_as_kubernetes_does(parameter, value, kept):
    config = KubernetesConfig.model_validate({parameter: value})
    assert getattr(config, parameter) == (value if kept is None else kept)
    assert KubernetesConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    "env",
    [
        {"API_KEY": "s3cr3t"},
        {"1A": "s3cr3t"},
        {"A": "hf_" + "s3cr3t0" * 4},
        {"A": ["s3cr3t"]},
        [{"name": "API_KEY", "value": "s3cr3t"}],
        [{"name": "1A", "value": "s3cr3t"}],
        [{"name": "A", "value": "s3cr3t", "more": 1}],
        ["s3cr3t"],
        "A=s3cr3t",
    ],
)
def test_no_message_shows_what_may_be_a_secret(env, refusal):
    with pytest.raises(ValidationError) as error:
        KubernetesConfig.model_validate({"env": env})
    assert "s3cr3t" not in str(error.value)
    for text in (yaml.safe_dump(env), json.dumps(env)):
        block = textwrap.indent(text, "    ")
        message = refusal(f"dataset: {{uri: /data}}\nkubernetes:\n  env:\n{block}")
        assert "kubernetes.env" in message
        assert "s3cr3t" not in message
    spec = PipelineSpec.model_validate({"name": "mine", "dataset": {"uri": "/data"}})
    run = {"ops": {"mine__finetuned_model": {"config": {"kubernetes": {"env": env}}}}}
    with pytest.raises(UserError) as refused:
        effective_spec(spec, run)
    assert "s3cr3t" not in str(refused.value)


def test_a_task_config_of_a_kubeflow_pipeline_is_taken_as_it_is():
    config = KubernetesConfig.model_validate(
        {
            "kubernetes_config": {
                "affinity": node_terms({"key": "gpu", "operator": "Exists"}),
                "env": [{"name": "A", "value": "b,c"}],
                "node_selector": {"gpu": "h100"},
                "resources": {
                    "requests": {"cpu": "8", "memory": "100Gi"},
                    "limits": {"cpu": "16", "memory": "100Gi", "nvidia.com/gpu": 2, "rdma/hca": 1},
                },
                "serviceAccountName": "trainer",
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "volume_mounts": [MOUNT],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            }
        }
    )
    assert config == KubernetesConfig.model_validate(
        {
            "affinity": node_terms({"key": "gpu", "operator": "Exists"}),
            "env": {"A": "b,c"},
            "node_selector": {"gpu": "h100"},
            "cpu": "8",
            "cpu_limit": "16",
            "memory": "100Gi",
            "memory_limit": "100Gi",
            "gpus_per_worker": 2,
            "extended_resources": {"rdma/hca": 1},
            "service_account": "trainer",
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "volume_mounts": [MOUNT],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        }
    )


def test_a_task_config_beside_another_value_of_the_same_is_refused():
    task = {"nodeSelector": {"gpu": "h100"}}
    assert KubernetesConfig.model_validate({"task_config": task, "node_selector": {}})
    assert KubernetesConfig.model_validate({"task_config": task, "node_selector": {"gpu": "h100"}})
    with pytest.raises(ValidationError, match="node_selector is given, and task_config says"):
        KubernetesConfig.model_validate({"task_config": task, "node_selector": {"gpu": "a10"}})


@pytest.mark.parametrize("asset", OTHER_STEPS)
def test_a_step_may_have_any_parameter_of_a_pod_and_gpus(asset):
    config = KubernetesConfig.model_validate({"steps": {asset: {"gpus": 1, "cpu": 2}}})
    assert config.of_step(asset).cpu == "2"
    assert config.gpus_of(asset) == 1
    assert config.model_dump()["steps"] == {asset: {"gpus": 1, "cpu": "2"}}


def test_what_a_step_takes_over_must_agree_with_what_it_says():
    with pytest.raises(ValidationError, match=r"steps.eval_report: queue_timeout"):
        KubernetesConfig.model_validate(
            {"queue_timeout": 100_000, "steps": {"eval_report": {"memory": "1Gi"}}}
        )


def test_a_bad_value_is_shown_where_it_stands_in_the_file(refusal):
    message = refusal(
        """
        dataset: {uri: /data}
        kubernetes:
          steps:
            eval_report:
              memory: 64
          tolerations:
            - {key: gpu, efect: NoSchedule}
        """
    )
    assert (
        "pipe.yaml:6:15: kubernetes.steps.eval_report.memory is '64': that is 64 bytes" in message
    )
    assert "did you mean effect?" in message
