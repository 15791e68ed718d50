"""What the steps of all assets have in common: how one begins, works, publishes and fails.

Belongs here: the frame of a step. Does not belong here: what Dagster knows of an asset before it
runs (``pipeline_asset.py``), and what an asset does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import BaseModel

from ft_assets import progress
from ft_assets.assets.interrupted import ending_when_lost
from ft_assets.assets.run_tags import tag_with_what_is_made
from ft_assets.config import Pipeline, PipelineSpec
from ft_assets.config.launchpad import config_of, effective_spec
from ft_assets.executor import on_kubernetes
from ft_assets.lineage import lineage_metadata
from ft_assets.provenance.digest import value_digest
from ft_assets.provenance.envelope import seal
from ft_assets.provenance.keys import SigningKey, signing_key
from ft_assets.provenance.model_signature import sign_model
from ft_assets.provenance.own_tasks import tasks_digest
from ft_assets.provenance.record import InputRecord, ProvenanceRecord, now
from ft_assets.provenance.statement import statement_of
from ft_assets.training.refusals import refuse_what_never_runs
from resources.errors import UserError
from resources.home import Home
from resources.launcher.process import ChildFailedError, ProcessLauncher
from resources.registry import refuse_what_is_lost
from resources.sources import SourceUnavailableError, redact
from resources.store import Artifact, ArtifactStore, Draft, Holder, Lease, Manifest, this_holder

if TYPE_CHECKING:
    from resources.launcher.trainjob import TrainJobLauncher

    Materialized = dg.MaterializeResult[Any]
else:  # Dagster reads the annotation and knows the class alone
    Materialized = dg.MaterializeResult


@dataclass(frozen=True)
class Step:
    """One asset being made in one run."""

    context: dg.AssetExecutionContext
    pipeline: Pipeline
    spec: PipelineSpec
    """The effective specification: the file's, with what this run changes."""
    asset: str
    code_version: str
    started_at: str
    work_seconds: list[float] = field(default_factory=list[float])
    """Time inside the work itself, piece by piece; the rest of a step is the platform's."""
    leases: list[Lease] = field(default_factory=list[Lease])
    """What keeps other runs from the same work; asked once more before anything is published."""
    signing_key: SigningKey | None = None
    """Signs what the step publishes; read when the step begins, so that a bad one costs no work."""

    @contextmanager
    def working(self) -> Generator[None]:
        """Count the time of the block as work."""
        began = time.monotonic()
        yield
        self.work_seconds.append(time.monotonic() - began)

    @property
    def partition(self) -> str | None:
        """The data drop, in a partitioned pipeline."""
        return self.context.partition_key if self.context.has_partition_key else None

    @property
    def key(self) -> list[str]:
        """The asset's key, in Dagster and in the store."""
        return self.spec.key(self.asset)

    @property
    def title(self) -> str:
        """The pipeline and its recipe, where people read of them."""
        return self.spec.label

    @property
    def run_folder_prefix(self) -> str:
        """What begins the names of this asset's run folders and locks, for this drop."""
        return "-".join([*self.key, self.partition or "all"])

    @contextmanager
    def alone(self, home: Home) -> Generator[None]:
        """Keep other runs of this asset and drop waiting; what they find then may be up to date.

        On all machines that share a store in a bucket; with a store in a folder, on this one. A
        run that loses its place (it was paused, or cut off from the store) stops and may be
        tried again: another one may be at work in the same run folder.
        """
        store: ArtifactStore = self.context.resources.store
        holder = this_holder(
            self.context.run.run_id, str(self.context.op_execution_context.op_handle)
        )
        name = self.run_folder_prefix

        def say(other: Holder | None) -> None:
            who = "another run" if other is None else other
            self.context.log.info(f"Waiting: this asset is being made for this drop by {who}")

        with ending_when_lost() as end, ExitStack() as held:
            if not store.is_in_a_bucket:
                held.enter_context(home.exclusively(name, holder, say))
            lease = held.enter_context(store.lease(name, holder, on_wait=say, on_lost=end))
            self.leases.append(lease)
            yield

    @property
    def include_folder(self) -> Path | None:
        """The folder of the pipeline's own lm-eval tasks."""
        include = self.spec.evaluation.include_path
        return (self.pipeline.folder / include).resolve() if include else None

    @cached_property
    def own_tasks(self) -> str | None:
        """Digest of that folder, as it was when the step first asked; None without one."""
        return None if self.include_folder is None else tasks_digest(self.include_folder)

    @property
    def force(self) -> bool:
        """Whether this run asks for the work to be done again."""
        return bool(self.context.op_execution_context.op_config.get("force"))

    def open(self, store: ArtifactStore, asset: str) -> Artifact:
        """The artifact of an asset upstream, for the same drop."""
        return store.open(self.spec.key(asset), self.partition)

    def provenance(self, inputs: Sequence[Artifact | InputRecord]) -> ProvenanceRecord:
        """The record of what this step makes."""
        config = config_of(self.spec, self.asset)
        for name, value in config.items():
            if (name == "uri" or name.endswith("_uri")) and value is not None:
                config[name] = redact(value)  # a presigned one is a secret
        return ProvenanceRecord(
            pipeline=self.spec.name,
            recipe=self.spec.recipe,
            asset=self.asset,
            partition=self.partition,
            run_id=self.context.run.run_id,
            code_version=self.code_version,
            config=config,
            config_digest=value_digest(config),
            spec_digest=self.spec.digest,
            inputs=input_records(inputs),
            started_at=self.started_at,
        )

    @contextmanager
    def publish(
        self, store: ArtifactStore, inputs: Sequence[Artifact | InputRecord], **metadata: Any
    ) -> Generator[Draft]:
        """A draft whose manifest holds the provenance and ``metadata``; published at the end.

        With it, in the same act, go the statement of where it comes from and, where a key is
        configured, the signatures of both the statement and a model.
        """
        provenance = self.provenance(inputs).model_dump(mode="json")
        with store.publish(
            self.key, self.partition, metadata={"provenance": provenance, **metadata}
        ) as draft:
            draft.attest = self._attestation
            draft.guard = self.confirm_leases
            yield draft
            if self.signing_key is not None:
                with self.working():
                    sign_model(draft.path, self.signing_key)

    def confirm_leases(self) -> None:
        """Ask once more, right before something becomes visible, that no other run is at it.

        Raises:
            LeaseLostError: another one may be.
        """
        for lease in self.leases:
            lease.confirm()

    def _attestation(self, manifest: Manifest) -> dict[str, Any]:
        stated = statement_of(manifest.model_dump(mode="json", exclude={"attestation"}))
        return seal(stated, self.signing_key)

    def result(
        self,
        artifact: Artifact,
        inputs: Sequence[Artifact | InputRecord],
        metadata: Mapping[str, Any],
        *,
        up_to_date: bool = False,
        check_results: Sequence[dg.AssetCheckResult] = (),
    ) -> Materialized:
        """What Dagster is told: the data version, the lineage in words, and the asset's own."""
        return dg.MaterializeResult(
            data_version=dg.DataVersion(artifact.data_version),
            metadata={
                **metadata,
                "up_to_date": up_to_date,
                "work_seconds": round(sum(self.work_seconds), 3),
                **lineage_metadata(
                    inputs=input_records(inputs),
                    spec_digest=self.spec.digest,
                    uri=artifact.uri,
                    digest=artifact.digest,
                ),
            },
            check_results=list(check_results),
        )

    def run_worker(
        self,
        launcher: ProcessLauncher | TrainJobLauncher,
        module: str,
        plan: BaseModel,
        plan_file: Path,
        *,
        on_progress: Callable[[Mapping[str, Any]], None] | None = None,
        memory_remedies: Sequence[str] = (),
    ) -> None:
        """Have a process of its own carry out a plan; its time counts as work.

        Args:
            launcher: starts it, beside the step or on several nodes.
            module: the worker, ``python -m MODULE PLAN_FILE``.
            plan: what it does.
            plan_file: where the plan is written; the worker's output lies beside it.
            on_progress: called with each of its reports, in place of ``report``.
            memory_remedies: what to change when it was killed for want of memory.
        """
        # In one act: a job of an earlier attempt may be reading it.
        partial = plan_file.with_name(f"{plan_file.name}.partial")
        partial.write_text(plan.model_dump_json(indent=1))
        partial.replace(plan_file)
        self.work_seconds.append(
            launcher.run(
                self.context,
                module=module,
                plan=plan_file,
                on_progress=on_progress or self.report,
                memory_remedies=memory_remedies,
            )
        )

    def report(self, report: Mapping[str, Any]) -> None:
        """Pass on how far the work is."""
        progress.report(self.asset, report)


@contextmanager
def step(
    context: dg.AssetExecutionContext, pipeline: Pipeline, asset: str, code_version: str
) -> Generator[Step]:
    """Begin a step with a valid configuration; end a refused one without a retry or a traceback.

    The whole run's configuration is checked, not this asset's alone: a bad value for the last
    step stops the run at its first.
    """
    try:
        spec = effective_spec(pipeline.spec, context.run.run_config)
        for recipe in pipeline.spec.recipe_specs().values():
            effective_spec(recipe, context.run.run_config)
        refuse_what_never_runs(spec.kubernetes, cluster=on_kubernetes())
        refuse_what_is_lost(spec.registry.settings())
        key = signing_key()
        progress.report(asset, {"phase": "start", "done": 0, "total": 0})
        this = Step(context, pipeline, spec, asset, code_version, now(), signing_key=key)
        tag_with_what_is_made(context, pipeline, asset, this.partition)
        yield this
        progress.report(asset, {"phase": "done", "done": 1, "total": 1})
    except SourceUnavailableError as error:  # a later attempt may find it
        raise dg.Failure(description=str(error)) from error
    except UserError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except ChildFailedError as error:
        raise dg.Failure(description=str(error)) from error


def input_records(artifacts: Sequence[Artifact | InputRecord]) -> list[InputRecord]:
    """The artifacts as they stand in provenance and lineage; records of them stay as they are."""
    return [
        artifact
        if isinstance(artifact, InputRecord)
        else InputRecord(
            asset="/".join(artifact.key),
            digest=artifact.digest,
            data_version=artifact.data_version,
            uri=artifact.uri,
            partition=artifact.partition,
        )
        for artifact in artifacts
    ]
