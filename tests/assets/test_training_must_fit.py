"""A training that is run without its check refuses what the check would have stopped."""

from __future__ import annotations

import pytest

from ft_assets.training import plan as plan_module
from tests.support.tiny_pipeline import NAME

ON_A_GPU = {"backend": "auto", "precision": "auto", "lr_scheduler": "cosine", "threads": 0}


@pytest.fixture
def on_a_gpu(trained_once, monkeypatch):
    """The tiny pipeline with the rows of its first run, to be trained on a GPU with 100 MiB."""
    monkeypatch.setattr(plan_module, "has_nvidia_gpu", lambda: True)
    return trained_once.write(
        {"training": ON_A_GPU, "kubernetes": {"gpus_per_worker": 1, "gpu_memory": "100Mi"}}
    )


def test_a_run_of_the_model_alone_that_is_clearly_too_large_is_refused(on_a_gpu, ft):
    run = ft(on_a_gpu, "run", NAME, "--json", "--select", "finetuned_model")
    assert run.exit_code == 1
    said = run.json["error"]
    assert "the check fits_memory stops the training: about " in said
    assert "of the 0.1 GiB that kubernetes.gpu_memory says (too large): " in said


def test_on_the_cpu_the_check_only_warns_and_nothing_is_refused(trained_once, ft):
    trained_once.write({"kubernetes": {"memory": "100Mi"}, "training": {"seed": 7}})
    run = ft(trained_once, "run", NAME, "--json", "--select", "finetuned_model")
    assert run.exit_code == 0, run.stderr
    assert run.json["made"] == ["finetuned_model"]
