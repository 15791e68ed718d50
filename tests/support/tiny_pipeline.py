"""A whole pipeline that trains in seconds: a tiny model, some rows of the examples, an own FT_HOME.

Everything is real: the command, Dagster's instance with the repository's dagster.yaml, the store,
the training and evaluation processes and the registry. Only the model and the data are small.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from resources.home import CHECKOUT
from resources.launcher.warm import HOST
from resources.store import Artifact, ArtifactStore
from tests.support.tiny_model import MAX_LENGTH, make_tiny_model

if TYPE_CHECKING:
    import dagster as dg

NAME = "tiny"
MODEL_NAME = "tiny-assistant"
ROWS = 40

_EXAMPLES = CHECKOUT / "examples" / "python-docs" / "drop-1.jsonl"
_FROM_OUTSIDE = ("FT_", "DAGSTER_", "AWS_", "HF_")
_PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Ft:
    """How a call of ``ft`` ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        (line,) = self.stdout.splitlines()
        return json.loads(line)


@dataclass(frozen=True)
class TinyPipeline:
    """A pipeline file and all the state that its runs leave, below one folder."""

    root: Path

    @property
    def home(self) -> Path:
        """``FT_HOME``."""
        return self.root / "home"

    @property
    def data(self) -> Path:
        """Where the drops lie: one JSONL file each."""
        return self.root / "data"

    @property
    def file(self) -> Path:
        """The pipeline file."""
        return self.root / "pipelines" / f"{NAME}.yaml"

    @property
    def environment(self) -> dict[str, str]:
        """What makes this pipeline, and nothing of the person's own, visible to ``ft``."""
        return {
            "FT_HOME": str(self.home),
            "FT_PIPELINES": str(self.file.parent),
            "FT_DATA_ROOTS": str(self.data),
            "OMP_NUM_THREADS": "1",
        }

    @property
    def dagster_environment(self) -> dict[str, str]:
        """The same, for programs of Dagster's own."""
        return {**self.environment, "DAGSTER_HOME": str(self.home / "dagster")}

    @property
    def store(self) -> ArtifactStore:
        """The store that its runs publish to."""
        return ArtifactStore(root=str(self.home / "artifacts"))

    def write(self, blocks: Mapping[str, Mapping[str, Any]] | None = None) -> TinyPipeline:
        """Write the pipeline file, with some parameters changed: ``{block: {parameter: ...}}``."""
        values = _values(self.root)
        for block, changed in (blocks or {}).items():
            values[block] = {**values.get(block, {}), **changed}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump(values, sort_keys=False))
        return self

    def write_drop(self, name: str, *, start: int = 0, rows: int = ROWS) -> TinyPipeline:
        """Bring a drop: ``rows`` rows of the examples from row ``start`` on."""
        self.data.mkdir(parents=True, exist_ok=True)
        with _EXAMPLES.open() as lines:
            (self.data / f"{name}.jsonl").write_text("".join(islice(lines, start, start + rows)))
        return self

    def ft(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        timeout: float = 240,
    ) -> Ft:
        """Call ``ft`` as a person does, and wait for its end."""
        done = subprocess.run(
            [str(_PROGRAMS / "ft"), *arguments],
            env=clean_environment({**self.environment, **(environment or {})}),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ft(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Call ``ft`` and do not wait; its stdout is the file ``stdout`` in the folder."""
        with (self.root / "stdout").open("wb") as stdout:
            return subprocess.Popen(
                [str(_PROGRAMS / "ft"), *arguments],
                env=clean_environment(self.environment),
                cwd=self.root,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
            )

    def instance(self) -> dg.DagsterInstance:
        """Dagster's instance of its runs. Close it, or use it in a ``with`` statement."""
        import dagster as dg

        return dg.DagsterInstance.from_config(str(self.home / "dagster"))

    def clone(self, root: Path) -> TinyPipeline:
        """The same pipeline with the same past in another folder, to go on there alone."""
        clone = make_tiny_pipeline(root, (self.root / "base-model").resolve())
        shutil.copytree(self.home, clone.home)
        return clone

    def artifact(self, asset: str, partition: str | None = "drop-1") -> Artifact:
        """The current artifact of one of its assets."""
        return self.store.open([NAME, asset], partition)

    def artifacts(self) -> list[str]:
        """All assets of which anything is visible in the store."""
        root = self.home / "artifacts"
        return sorted({file.relative_to(root).parts[1] for file in root.rglob("current.json")})


def clean_environment(added: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a person or a test has set for ``ft``, and with ``added``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == HOST or not name.startswith(_FROM_OUTSIDE)
    }
    return {**kept, **added}


def make_tiny_pipeline(root: Path, base_model: Path | None = None) -> TinyPipeline:
    """A pipeline with one drop below ``root``; ``base_model`` is made there when it is not given.

    Its data version, its weights and its scores are the same on every run on one machine.
    """
    pipeline = TinyPipeline(root)
    link = root / "base-model"
    root.mkdir(parents=True, exist_ok=True)
    if base_model is None:
        make_tiny_model(link)
    else:
        link.symlink_to(base_model)
    return pipeline.write_drop("drop-1").write()


def _values(root: Path) -> dict[str, Any]:
    return {
        "description": "A tiny model, for tests.",
        "tags": {"purpose": "test"},
        "dataset": {"uri": f"{root}/data/{{partition}}.jsonl", "split": 0.8},
        "training": {
            "backend": "cpu",
            "base_model": str(root / "base-model"),
            "effective_batch_size": 8,
            "num_epochs": 1,
            "learning_rate": 0.01,
            "lr_scheduler": "constant",
            "max_seq_len": MAX_LENGTH,
            "max_tokens_per_gpu": 1024,
            "precision": "fp32",
            "threads": 1,
        },
        "evaluation": {"tasks": [], "held_out_generations": 3, "max_new_tokens": 8},
        "promotion": {"min_samples": 5},  # it holds fewer rows out than a real one
        "registry": {"name": MODEL_NAME},
        "kubernetes": {"gpus_per_worker": 0, "cpu": "1", "memory": "1Gi"},
    }
