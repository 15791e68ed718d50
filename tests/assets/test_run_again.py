"""A run that came at the wrong moment asks Dagster's daemon to come again."""

from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import RunFailureReason
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from ft_assets.assets.run_again import MOST, run_again

RETRIES = {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}


@dg.asset
def moved(context: dg.AssetExecutionContext) -> None:
    """Fails, and says that it is worth another run."""
    context.add_output_metadata({"again": run_again(context)})
    raise dg.Failure("the champion moved", allow_retries=False)


@dg.asset
def broken() -> None:
    """Fails for a reason of its own."""
    raise dg.Failure("broken", allow_retries=False)


def _run(
    instance: dg.DagsterInstance, asset: Any, parent: dg.DagsterRun | None = None
) -> dg.DagsterRun:
    """Run it; in a failed run's place as the daemon does, with its tags."""
    jobs = [dg.define_asset_job("job", executor_def=dg.in_process_executor)]
    job = dg.Definitions(assets=[asset], jobs=jobs).resolve_job_def("job")
    root = parent and (parent.root_run_id or parent.run_id)
    run = instance.create_run_for_job(
        job,
        parent_run_id=parent and parent.run_id,
        root_run_id=root,
        tags={**parent.tags, "dagster/root_run_id": str(root)} if parent else None,
    )
    list(execute_run_iterator(InMemoryJob(job), run, instance))
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.FAILURE
    return ended


def _comes_again(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    return auto_reexecution_should_retry_run(instance, run, RunFailureReason.STEP_FAILURE)


@pytest.fixture
def retrying(tmp_path):
    with dg.instance_for_test(
        temp_dir=str(tmp_path), overrides={"run_retries": RETRIES}
    ) as instance:
        yield instance


def test_a_failed_step_is_not_run_again_unless_it_asks(retrying):
    assert not _comes_again(retrying, _run(retrying, broken))
    asked = _run(retrying, moved)
    assert _comes_again(retrying, asked)
    assert asked.tags["dagster/retry_strategy"] == "ALL_STEPS"


def test_the_next_run_comes_again_only_if_it_asks_too(retrying):
    first = _run(retrying, moved)
    assert _comes_again(retrying, _run(retrying, moved, first))
    assert not _comes_again(retrying, _run(retrying, broken, first))


@pytest.mark.parametrize(("chosen", "again"), [(["judged", "moved"], True), (["moved"], False)])
def test_a_run_that_does_not_make_what_must_be_made_again_is_not_repeated(retrying, chosen, again):
    @dg.asset
    def judged() -> None: ...

    @dg.asset(name="moved", deps=[judged])
    def registered(context: dg.AssetExecutionContext) -> None:
        run_again(context, making=["judged"])
        raise dg.Failure("the champion moved", allow_retries=False)

    jobs = [dg.define_asset_job("job", executor_def=dg.in_process_executor)]
    whole = dg.Definitions(assets=[judged, registered], jobs=jobs).resolve_job_def("job")
    keys = {dg.AssetKey(name) for name in chosen}
    job = whole.get_subset(asset_selection=keys)
    run = retrying.create_run_for_job(job, asset_selection=frozenset(keys))
    list(execute_run_iterator(InMemoryJob(job), run, retrying))
    ended = retrying.get_run_by_id(run.run_id)
    assert _comes_again(retrying, ended) is again


def test_it_ends_at_some_time(retrying, monkeypatch):
    monkeypatch.setattr("ft_assets.assets.run_again.MOST", 3)
    assert MOST > 3
    run = _run(retrying, moved)
    for _ in range(2):
        assert _comes_again(retrying, run)
        run = _run(retrying, moved, run)
    assert not _comes_again(retrying, run)


def test_without_retries_the_failure_stands(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        run = _run(instance, moved)
        assert "dagster/retry_on_asset_or_op_failure" not in run.tags
