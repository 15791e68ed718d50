"""Which libraries the workers of steps have ready on a laptop: see ``resources.launcher.warm``.

Those that several kinds of workers import, and that take long. Not ours, and none that does more
than define things when it is imported. What is not installed is left out.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ft_assets.executor import on_kubernetes
from resources.launcher.warm import start_warm_host, warm_host

LIBRARIES = (
    "dagster",
    "dagster_pipes",
    "torch",
    "torch.distributed.tensor",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "numpy",
    "scipy.stats",
    "pandas",
    "pyarrow.parquet",
    "datasets",
    "tokenizers",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.generation.utils",
    "peft",
    "training_hub",
    "safetensors.torch",
    "lm_eval.evaluator",
    "lm_eval.models.huggingface",
    "lm_eval.tasks",
    "sacrebleu",
    "rouge_score.rouge_scorer",
    "rapidfuzz",
)


@contextmanager
def warm_workers() -> Generator[None]:
    """Workers of the steps of this block start without importing, where that can be."""
    if on_kubernetes():
        yield
        return
    with warm_host(LIBRARIES):
        yield


def start_warm_workers() -> None:
    """The same for as long as this process lives."""
    if not on_kubernetes():
        start_warm_host(LIBRARIES)
