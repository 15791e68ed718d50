"""Registered versions with a past, published into a real store and a real registry.

Nothing is trained: what the manifests say of data, training and evaluation is given here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ft_assets.assets.step import input_records
from ft_assets.comparing import VersionComparison, compare_versions
from ft_assets.evaluation.summary import EvaluationSummary, HeldOutSummary, ModelSummary
from ft_assets.provenance.digest import value_digest
from ft_assets.provenance.record import ProvenanceRecord
from resources.registry import EmbeddedRegistry, RegisteredVersion, Registration
from resources.store import Artifact, ArtifactStore

PIPELINE, MODEL = "support", "assistant"
TRAINING = {"algorithm": "sft", "base_model": "org/base", "learning_rate": 1e-05}
BASE = {"name": "org/base", "revision": "r1", "digest": "b" * 64}


def row_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@dataclass(frozen=True)
class Past:
    """What a version was made from, and how it did."""

    drop: str | None = "drop-1"
    drops: tuple[str, ...] = ()
    """With accumulated data: all drops, in natural order."""
    train: range = range(8)
    held_out: range = range(100, 104)
    training: dict[str, Any] = field(default_factory=lambda: TRAINING)
    dataset: dict[str, Any] = field(default_factory=lambda: {"uri": "{partition}.jsonl", "seed": 1})
    evaluation: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=lambda: BASE)
    start: dict[str, Any] | None = None
    """The version that the training went on from."""
    code_version: str = "3"
    packages: dict[str, str] = field(default_factory=lambda: {"torch": "2.13.0"})
    loss: float = 2.5
    tokens: int = 100
    left_out: int = 0
    held_out_version: str = ""
    """Of the task; by the rows when it is empty."""
    tasks: dict[str, dict[str, float | None]] = field(default_factory=dict)
    task_versions: dict[str, str] = field(default_factory=dict)
    backends: dict[str, str] = field(default_factory=dict)
    partial: bool = False
    recipe: str | None = None


@dataclass(frozen=True)
class History:
    """A store and a registry, and how versions come into them."""

    root: Path

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(root=str(self.root / "artifacts"))

    @property
    def registry(self) -> EmbeddedRegistry:
        return EmbeddedRegistry(path=str(self.root / "registry.db"))

    def register(
        self, past: Past, *, champion: RegisteredVersion | None = None, champion_loss: float = 0
    ) -> RegisteredVersion:
        """Publish what stands behind a version, and register it.

        With a ``champion``, the report holds it too, with a loss of its own on these rows.
        """
        raws = [
            self._publish("raw_dataset", drop, [], {"rows.jsonl": drop or "all"}, _raw(past, drop))
            for drop in (past.drop, *(one for one in past.drops if one != past.drop))
        ]  # its own first, as split_dataset names them
        sides = {"train.jsonl": past.train, "held_out.jsonl": past.held_out}
        rows = {name: "".join(_line(number) for number in side) for name, side in sides.items()}
        split = self._publish("split_dataset", past.drop, raws, rows, _split(past, rows))
        config = {
            "config": past.training,
            "plan": _plan(past),
            "code_version": past.code_version,
            "packages": past.packages,
        }
        model = self._publish("finetuned_model", past.drop, [split], {"w": repr(past)}, config)
        report = self._publish(
            "eval_report",
            past.drop,
            [split, model],
            {"results.json": repr(past)},
            _report(past, model, champion, champion_loss),
        )
        return self.registry.register(
            Registration(
                model=MODEL if past.recipe is None else f"{MODEL}-{past.recipe}",
                digest=model.data_version,
                uri=f"{model.uri}/model",
                author="test",
                properties={
                    "pipeline": PIPELINE,
                    "partition": past.drop or "",
                    "asset_keys": ", ".join("/".join(a.key) for a in (model, split, report)),
                    **{f"{a.key[-1]}.digest": a.digest for a in (model, split, report)},
                    "split_dataset.data_version": split.data_version,
                    "base_model": past.base["name"],
                    "base_model_revision": past.base["revision"],
                    "base_model_digest": past.base["digest"],
                    "training_rows": len(past.train),
                    "held_out_loss": past.loss,
                    "held_out_loss_stderr": 0.1,
                    **({"recipe": past.recipe} if past.recipe else {}),
                },
            )
        )

    def _publish(
        self,
        asset: str,
        drop: str | None,
        inputs: list[Artifact],
        files: dict[str, str],
        metadata: dict[str, Any],
    ) -> Artifact:
        record = ProvenanceRecord(
            pipeline=PIPELINE,
            asset=asset,
            partition=drop,
            run_id="run-1",
            code_version=metadata.pop("code_version", "1"),
            config=metadata.pop("config", {}),
            inputs=input_records(inputs),
            started_at="2026-01-01T00:00:00+00:00",
            packages=metadata.pop("packages", {}),
        ).model_dump(mode="json")
        with self.store.publish(
            [PIPELINE, asset], drop, metadata={"provenance": record, **metadata}
        ) as draft:
            for name, content in files.items():
                (draft.path / name).write_text(content)
        assert draft.artifact is not None
        return draft.artifact

    def forget(self, version: RegisteredVersion, asset: str) -> None:
        """Remove an artifact behind a version, as who makes room on a disk does."""
        digest = str(version.properties[f"{asset}.digest"])
        for manifest in (self.root / "artifacts").rglob(f"{digest}/manifest.json"):
            manifest.unlink()

    def compare(self, old: RegisteredVersion, new: RegisteredVersion) -> VersionComparison:
        return compare_versions(old, new, self.store)


def _raw(past: Past, drop: str | None) -> dict[str, Any]:
    rows = len(past.train) + len(past.held_out)
    return {
        "config": past.dataset,
        "report": {"rows_kept": rows, "dropped": {}},
        "source": {"uri": f"/data/{drop}.jsonl", "revision": None, "files": []},
    }


def _split(past: Past, rows: dict[str, str]) -> dict[str, Any]:
    return {
        "config": past.dataset,
        "report": {
            "rows_in": len(past.train) + len(past.held_out),
            "train_rows": len(past.train),
            "held_out_rows": len(past.held_out),
            "dropped": {},
            "train_digest": value_digest(rows["train.jsonl"]),
            "held_out_digest": value_digest(rows["held_out.jsonl"]),
        },
    }


def _plan(past: Past) -> dict[str, Any]:
    location = {"kind": "hub", "location": past.base["name"], "hf_token_env": "HF_TOKEN"}
    return {"base_model": {**past.base, **location}, "start": past.start}


def _report(
    past: Past, model: Artifact, champion: RegisteredVersion | None, champion_loss: float
) -> dict[str, Any]:
    models = {"base": _scores(past, 4.0), "tuned": _scores(past, past.loss)}
    digests = {"base": past.base["digest"], "tuned": model.data_version}
    comparisons: list[dict[str, Any]] = []
    if champion is not None:
        models["champion"] = _scores(past, champion_loss)
        digests["champion"] = champion.artifact.digest
        off = past.loss - champion_loss
        comparisons = [
            {
                "task": "held_out",
                "metric": "loss",
                "against": "champion",
                "low": off - 0.05,
                "high": off + 0.05,
                "p_value": 0.01,
                "samples": len(past.held_out) - past.left_out,
            }
        ]
    asked = past.held_out_version or f"2:{past.held_out}{past.left_out}"
    summary = EvaluationSummary(
        models=models,
        partial=past.partial,
        task_versions={"held_out": asked, **past.task_versions},
        model_digests=digests,
        backends={"tuned": past.backends},
        documents={"held_out": len(past.held_out) - past.left_out},
    )
    named = None if champion is None else {"model": champion.model, "version": champion.version}
    return {
        "config": {"promotion": {"primary": "held_out/loss"}, **past.evaluation},
        "summary": summary.model_dump(mode="json"),
        "verdict": {"passed": True, "comparisons": comparisons},
        "champion": named,
    }


def _scores(past: Past, loss: float) -> ModelSummary:
    return ModelSummary(
        held_out=HeldOutSummary(
            loss=loss,
            loss_stderr=0.1,
            perplexity=None,
            perplexity_stderr=None,
            token_accuracy=None,
            token_accuracy_stderr=None,
            rows=len(past.held_out) - past.left_out,
            tokens=past.tokens,
            truncated=0,
            skipped=0,
            left_out_rows=past.left_out,
            chrf=0.5,
            chrf_stderr=0.01,
        ),
        tasks=past.tasks,
    )


def _line(number: int) -> str:
    row = {"id": row_id(number), "messages": [{"content": str(number), "role": "user"}]}
    return json.dumps(row, separators=(",", ":")) + "\n"


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)
