"""What docs/kubernetes.md says of the cluster is so: causes, files, commands' objects, accounts."""

from __future__ import annotations

import re

import yaml

from ft_assets.cluster.causes import CAUSES, Fault
from ft_assets.cluster.settings import WatchSettings
from resources.home import CHECKOUT
from tests.deploy.manifests import DEPLOY, MANIFESTS, of_kind

PAGE = (CHECKOUT / "docs" / "kubernetes.md").read_text()
THEN = {Fault.CONFIGURATION: "fail", Fault.CAPACITY: "wait", Fault.INFRASTRUCTURE: "again"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table that has this first heading."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def test_every_cause_is_in_the_table_with_what_happens_then():
    said = {
        name: set(then.split(", "))
        for causes, then, _ in rows("the event begins with")
        for name in re.findall(r"`(\w+)`", causes)
    }
    real: dict[str, set[str]] = {}
    for cause in CAUSES:
        real.setdefault(cause.name, set()).add(THEN[cause.fault])
    assert said == real


def test_its_numbers_are_those_of_the_settings():
    instance = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    assert WatchSettings().retries == 2
    assert "runs again in a new pod, up to two times" in PAGE
    assert instance["run_retries"]["max_retries"] == 2
    assert "lost its own pod is started again, up to two times" in PAGE
    runs = instance["concurrency"]["runs"]
    (by_pipeline,) = (x for x in runs["tag_concurrency_limits"] if x["key"] == "pipeline")
    said = f"{runs['max_concurrent_runs']} at once, {by_pipeline['limit']} of one pipeline"
    assert said in PAGE


def test_every_file_of_the_folder_is_explained():
    named = {name for cells in rows("file") for name in re.findall(r"`([\w-]+\.yaml)`", cells[0])}
    assert named == {file.name for file in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}


def test_every_file_that_it_names_is_there():
    for path in re.findall(r"\bdeploy/[\w./-]+\.yaml", PAGE):
        assert (CHECKOUT / path).exists(), path


def test_every_account_is_explained():
    named = {re.findall(r"`([\w-]+)`", cells[0])[0] for cells in rows("account")}
    assert named == {account["metadata"]["name"] for account in of_kind("ServiceAccount")}


def test_the_pipeline_of_the_page_uses_what_the_manifests_make():
    text = PAGE.partition("```yaml pipeline\n")[2].partition("```")[0]
    kubernetes = yaml.safe_load(text)["kubernetes"]
    classes = {priority["metadata"]["name"] for priority in of_kind("PriorityClass")}
    pods = [kubernetes, *kubernetes["steps"].values()]
    assert {pod["priority_class"] for pod in pods if "priority_class" in pod} == classes
    accounts = {account["metadata"]["name"] for account in of_kind("ServiceAccount")}
    assert kubernetes["service_account"] in accounts


def test_the_chart_is_of_the_version_of_dagster():
    constraints = (CHECKOUT / "constraints.txt").read_text()
    (dagster,) = re.findall(r"^dagster==(\S+)", constraints, re.MULTILINE)
    assert re.findall(r"--version (\S+)", PAGE) == [dagster]
    minor = dagster.rpartition(".")[0]
    assert f"{minor}.x" in (DEPLOY / "helm" / "values.yaml").read_text()
