"""The code location: light to import, and what it offers to Dagster changes on purpose only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from resources.errors import UserError
from resources.home import CHECKOUT
from tests.support import definitions_snapshot
from tests.support.tiny_pipeline import NAME, clean_environment

HEAVY = (
    "torch", "transformers", "datasets", "trl", "peft", "lm_eval", "training_hub", "instructlab",
    "mini_trainer", "model_registry", "mlflow", "boto3", "kubernetes", "pandas", "pyarrow",
    "huggingface_hub", "gguf", "httpx", "numpy", "dagster._core.remote_representation.external",
)  # fmt: skip
"""Each costs every step of every run its import; together 70 seconds in a run of five steps."""


def test_loading_the_definitions_imports_no_heavy_library(tiny):
    program = (
        "import sys, json, ft_assets.definitions; "
        f"print(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(tiny.environment),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []


def test_the_heavy_libraries_are_installed_so_that_the_test_above_means_something():
    from importlib.util import find_spec

    missing = [name for name in HEAVY if name not in ("peft", "mlflow") and not find_spec(name)]
    assert missing == []


def test_what_dagster_is_told_is_what_the_snapshot_says():
    assert definitions_snapshot.text() == definitions_snapshot.FILE.read_text(), (
        "The assets, checks, jobs or parameters of the built-in pipelines have changed. If that is "
        "what you want (a changed code_version trains every model again), write the snapshot anew "
        "with `python -m tests.support.definitions_snapshot` and commit it."
    )


def test_every_pipeline_is_a_job_of_its_assets(tiny, monkeypatch):
    for name, value in tiny.environment.items():
        monkeypatch.setenv(name, value)
    from ft_assets.code_location import build_defs

    job = build_defs().resolve_job_def(NAME)
    assert [key.path for key in sorted(job.asset_layer.executable_asset_keys)] == [
        [NAME, "baseline_report"],
        [NAME, "eval_report"],
        [NAME, "finetuned_model"],
        [NAME, "raw_dataset"],
        [NAME, "registered_version"],
        [NAME, "split_dataset"],
        [NAME, "token_report"],
    ]
    assert isinstance(job.partitions_def, dg.DynamicPartitionsDefinition)


def test_a_pod_of_a_run_has_the_assets_of_its_own_pipeline(tiny, monkeypatch):
    from ft_assets.code_location import build_defs

    for name, value in tiny.environment.items():
        monkeypatch.setenv(name, value)
    everything = {job.name for job in build_defs().resolve_all_job_defs()}
    assert {NAME, "sft", "osft"} <= everything

    monkeypatch.setenv("DAGSTER_RUN_JOB_NAME", NAME)
    own = build_defs()
    assert {group.group_name for group in own.resolve_all_asset_specs()} == {NAME}
    assert own.resolve_job_def(NAME).name == NAME

    # A run of several pipelines' assets, from the UI's global graph.
    monkeypatch.setenv("DAGSTER_RUN_JOB_NAME", "__ASSET_JOB")
    assert {job.name for job in build_defs().resolve_all_job_defs()} == everything


def test_tests_and_deployments_put_other_resources_in_place(tmp_path):
    from ft_assets.code_location import build_defs
    from resources.store import ArtifactStore

    store = ArtifactStore(root=str(tmp_path))
    definitions = build_defs({"store": store})
    assert definitions.resources["store"] is store


def test_the_environment_says_where_the_resources_work(monkeypatch, tmp_path):
    from ft_assets.code_location import default_resources

    monkeypatch.setenv("FT_HOME", str(tmp_path))
    monkeypatch.setenv("FT_DATA_ROOTS", "/a:/b")
    monkeypatch.setenv("FT_STORE", "s3://bucket/prefix")
    monkeypatch.setenv("FT_PVC_ROOT", "/mnt/volume")
    monkeypatch.setenv("FT_ALLOW_PRIVATE_ADDRESSES", "1")
    resources = default_resources()
    assert resources["home"].runs == tmp_path / "runs"
    assert resources["registry"].path == str(tmp_path / "registry.db")
    assert resources["store"].root == "s3://bucket/prefix"
    assert resources["sources"].data_roots == ["/a", "/b"]
    assert resources["sources"].pvc_root == "/mnt/volume"
    assert resources["sources"].allow_private_addresses


def test_without_an_environment_everything_is_below_home_and_nothing_private_is_reached(
    monkeypatch, tmp_path
):
    from ft_assets.code_location import default_resources

    monkeypatch.setenv("FT_HOME", str(tmp_path))
    for name in ("FT_DATA_ROOTS", "FT_STORE", "FT_PVC_ROOT", "FT_ALLOW_PRIVATE_ADDRESSES"):
        monkeypatch.delenv(name, raising=False)
    resources = default_resources()
    assert resources["store"].root == str(tmp_path / "artifacts")
    assert resources["sources"].data_roots == [str(CHECKOUT), str(tmp_path)]
    assert not resources["sources"].allow_private_addresses


def test_a_broken_pipeline_stops_the_code_location_with_its_line(tiny, monkeypatch):
    from ft_assets.code_location import build_defs

    tiny.write({"training": {"num_epoch": 2}})
    for name, value in tiny.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"tiny\.yaml:\d+:3: training\.num_epoch"):
        build_defs()


@pytest.mark.slow
@pytest.mark.parametrize("command", [("check", "defs"), ("list", "defs", "--json")], ids=" ".join)
def test_dagsters_own_command_takes_the_checkout_as_a_project(tiny, command):
    tiny.ft("check")  # makes DAGSTER_HOME
    dg_program = Path(sys.executable).with_name("dg")
    done = subprocess.run(
        [str(dg_program), *command],
        env=clean_environment(tiny.dagster_environment),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if command[0] == "list":
        assert f"{NAME}/finetuned_model" in done.stdout
