"""One asset and drop is made by one run at a time, on all machines that share a store."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from ft_assets.assets import step as step_module
from ft_assets.assets.interrupted import ending_when_lost
from ft_assets.assets.step import Step
from ft_assets.config import PipelineSpec
from resources.home import Home
from resources.store import ArtifactStore, LeaseLostError, this_holder

SPEC = PipelineSpec.model_validate({"name": "demo", "dataset": {"uri": "/data/rows.jsonl"}})


def make(tmp_path, work, store=None) -> dg.ExecuteInProcessResult:
    """Materialize an asset whose work is ``work``, done alone."""

    @dg.asset(key=["demo", "model"])
    def model(context: dg.AssetExecutionContext, store: ArtifactStore, home: Home):
        unused: Any = None
        this = Step(context, unused, SPEC, "model", "1", "2026-01-01T00:00:00+00:00")
        with this.alone(home):
            work(this)

    resources = {
        "store": store or ArtifactStore(root=str(tmp_path / "store")),
        "home": Home(path=str(tmp_path / "home")),
    }
    return dg.materialize([model], resources=resources, raise_on_error=False)


def failure(result) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data.description


def test_who_waits_says_for_whom(tmp_path):
    store = ArtifactStore(root=str(tmp_path / "store"))
    holder = this_holder("run-of-the-other", "demo__model")
    release = threading.Event()
    held = threading.Event()

    def hold():
        with store.lease("demo-model-all", holder):
            held.set()
            assert release.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(60)
    lines: list[str] = []

    original = ArtifactStore.lease

    def watched(self, name, holder, *, ttl=0, on_wait, on_lost):
        def say(who):
            on_wait(who)
            lines.append(str(who))
            release.set()

        return original(self, name, holder, ttl=ttl, on_wait=say, on_lost=on_lost)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArtifactStore, "lease", watched)
        assert make(tmp_path, lambda _: None).success
    other.join()
    assert len(lines) == 1
    assert "run run-of-the-other, step demo__model" in lines[0]


def test_a_step_whose_lease_is_lost_is_interrupted_and_may_be_tried_again(tmp_path, monkeypatch):
    def lose(self, name, holder, *, ttl=0, on_wait, on_lost):
        timer = threading.Timer(0.2, lambda: on_lost(LeaseLostError("held by another run")))
        timer.start()
        return original(self, name, holder, ttl=ttl, on_wait=on_wait, on_lost=on_lost)

    original = ArtifactStore.lease
    monkeypatch.setattr(ArtifactStore, "lease", lose)
    reached = []

    def work(_):
        time.sleep(60)
        reached.append("the end")

    result = make(tmp_path, work)
    assert not result.success
    assert failure(result) == "held by another run"
    assert reached == []


def test_a_lost_lease_is_worth_another_try():
    with pytest.raises(dg.Failure, match="held by another run") as failed, ending_when_lost():
        raise LeaseLostError("held by another run")
    assert failed.value.allow_retries


def test_nothing_is_published_by_a_step_whose_lease_is_lost(tmp_path):
    store = ArtifactStore(root=str(tmp_path / "store"))

    def work(this: Step):
        def lost() -> None:
            raise LeaseLostError("held by another run")

        this.leases.append(SimpleNamespace(confirm=lost, check=lost))  # type: ignore[arg-type]
        with store.publish(this.key, None) as draft:
            draft.guard = this.confirm_leases
            (draft.path / "model.bin").write_text("weights")

    result = make(tmp_path, work, store)
    assert failure(result) == "held by another run"
    assert store.find(["demo", "model"], None) is None


def test_the_publication_of_a_step_asks_every_lease_of_its(tmp_path, monkeypatch):
    monkeypatch.setattr(Step, "provenance", lambda *_: SimpleNamespace(model_dump=lambda **_: {}))
    monkeypatch.setattr(step_module, "statement_of", lambda _: {})
    monkeypatch.setattr(step_module, "seal", lambda *_: {})
    store = ArtifactStore(root=str(tmp_path / "store"))
    asked = []

    def work(this: Step):
        this.leases.append(
            SimpleNamespace(confirm=lambda: asked.append(store.find(this.key, None)))
        )  # type: ignore[arg-type]
        with this.publish(store, []) as draft:
            (draft.path / "model.bin").write_text("weights")
            assert asked == []

    assert make(tmp_path, work, store).success
    assert asked, "asked before anything was to be seen"
    assert asked == [None] * len(asked)


def test_a_cancelled_run_stays_cancelled():
    with pytest.raises(KeyboardInterrupt), ending_when_lost():
        raise KeyboardInterrupt
