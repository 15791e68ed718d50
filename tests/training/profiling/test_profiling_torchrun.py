"""Recording through training_hub's callbacks: with the backends' own managers of callbacks.

The backends themselves need a GPU. What is theirs here is how a callback reaches a worker and is
called: rebuilt from its source, from another thread, without training waiting for it.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from ft_assets.training.profile_window import ProfileWindow
from ft_assets.training.profiling.summary import summarize

pytestmark = pytest.mark.slow  # the backends' imports take seconds

BACKENDS = {
    "instructlab-training": ("training_hub.adapters.instructlab", "instructlab.training.callbacks"),
    "mini-trainer": ("training_hub.adapters.mini_trainer", "mini_trainer.callbacks"),
}


def worker_of(backend: str, window: ProfileWindow, run_dir: Path) -> Any:
    """The manager of a worker, with the callback as it arrives there."""
    from ft_assets.training.torchrun_profiler import gpu_backend_profiler

    adapter, native = (import_module(name) for name in BACKENDS[backend])
    bridges = adapter.adapt_hub_callbacks(
        [gpu_backend_profiler(window, run_dir, backend=backend)], payload_dir=str(run_dir)
    )
    manager = native.CallbackManager()
    sent = native.serialize_callbacks_for_cli(bridges)
    for callback in native.deserialize_callbacks_from_cli(sent):
        manager.add_callback(callback)
    manager.context.output_dir = str(run_dir)
    return manager


def called(manager: Any, hook: str) -> None:
    """Fire a hook and wait until it was called, which a backend does not."""
    manager.fire(hook)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), manager._loop).result(timeout=60)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_window_is_recorded_from_the_thread_that_trains(tmp_path, monkeypatch, backend):
    monkeypatch.setenv("TRAINING_HUB_CALLBACKS_PATH", "")
    manager = worker_of(backend, ProfileWindow(2, 3), tmp_path)
    layer = torch.nn.Linear(8, 8)
    called(manager, "on_train_begin")
    for step in range(1, 8):
        # instructlab-training counts before the step, mini-trainer in the middle of it.
        manager.context.step = step if backend == "instructlab-training" else step - 1
        called(manager, "on_step_begin")
        assert (tmp_path / "profile").exists() == (step > 5)
        layer(torch.randn(4, 8)).sum().backward()
        manager.context.step = step
        called(manager, "on_step_end")
    called(manager, "on_train_end")
    manager.close()
    summary = summarize(tmp_path)
    calls = {operator.name: operator.calls for operator in summary.operators}
    assert summary.steps == 3
    assert calls["aten::addmm"] == 3
