"""What ``finetuned_model`` would train now, and whether that was trained before.

Belongs here: the plan of a training, its start and its attempt, compared with the versions that
are there. Does not belong here: training and publishing (``finetuned_model.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ft_assets.assets.champion_start import (
    ChampionStarts,
    champion_starts,
    located,
    shaped_as,
    unlike_the_base,
)
from ft_assets.assets.earlier import known_versions
from ft_assets.assets.token_report import locate_base_model, tokens_for
from ft_assets.assets.training_estimate import refuse_what_does_not_fit, training_estimate
from ft_assets.executor import on_kubernetes
from ft_assets.training.estimate import remedies_for_out_of_memory
from ft_assets.training.estimate.rows import rows_of
from ft_assets.training.left_behind import begun, left_behind
from ft_assets.training.plan import TrainPlan, make_plan
from ft_assets.training.refusals import refuse_beyond_the_run
from ft_assets.training.start import recorded_start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ft_assets.assets.step import Step
    from ft_assets.training.base_model import BaseModelRef
    from ft_assets.training.start import Start
    from resources.home import Home
    from resources.registry import Registry, RegistryHub
    from resources.store import Artifact, ArtifactStore


@dataclass(frozen=True)
class TrainingWork:
    """The training of one drop as the data, the parameters and the champion ask for it now."""

    this: Step
    store: ArtifactStore
    split: Artifact
    home: Home
    base: BaseModelRef
    starts: ChampionStarts | None
    """None: the training starts from the base model."""

    @classmethod
    def of(
        cls,
        this: Step,
        store: ArtifactStore,
        split: Artifact,
        home: Home,
        registry: RegistryHub | Registry,
    ) -> TrainingWork:
        """Find out; nothing is loaded or fetched, but for the base model's digest."""
        starts = champion_starts(store, registry, this.spec, this.partition)
        return cls(this, store, split, home, locate_base_model(this, home), starts)

    def is_made(self, model: Artifact) -> bool:
        """Whether a model is what this training would make, in whichever attempt made it."""
        about: Any = model.manifest.metadata
        start_from, start = recorded_start(about)
        same = self._plan(start, _attempt_of(model)).fingerprint == about.get("fingerprint")
        return same and (
            self._may_stay(start_from, start) or self._is_built_on(start, model.data_version)
        )

    def attempt(self) -> int:
        """The number of the repetition: 0 unless it is forced. A retry of a forced run keeps it."""
        if not self.this.force:
            return 0
        return 1 + max((_attempt_of(model) for model in self._made()), default=-1)

    def plan(self, attempt: int) -> TrainPlan:
        """The plan, after everything that can be refused without loading a model was."""
        training = self.this.spec.training
        start = self._start(attempt)
        shape = shaped_as(self.store, self.base, self.starts, self.this.spec)
        warning = unlike_the_base(start, self.base)
        if warning is not None:
            self.this.context.log.warning(warning)
        tokens = tokens_for(self.store, self.this.spec, self.this.partition, shape)
        if tokens is not None:
            refuse_beyond_the_run(training, rows_of(training, tokens).steps)
        plan = self._plan(start, attempt)
        for sentence in left_behind(self.home.runs, self.this.run_folder_prefix, plan):
            self.this.context.log.warning(sentence)
        if start is not None:
            self.this.context.log.info(f"The training starts from {start}")
            model = located(self.store, start, self.this.spec)
            plan = plan.model_copy(update={"start_model": model})
        planned = training_estimate(self.this, shape, self.home, tokens, plan.backend)
        refuse_what_does_not_fit(planned)
        if planned is None:
            return plan
        return plan.model_copy(
            update={
                "memory_remedies": tuple(remedies_for_out_of_memory(planned)),
                "host_memory_remedies": tuple(remedies_for_out_of_memory(planned, host=True)),
            }
        )

    def _plan(self, start: Start | None, attempt: int) -> TrainPlan:
        report: Any = self.split.manifest.metadata["report"]
        return make_plan(
            self.this.spec.training,
            self.this.spec.kubernetes,
            base_model=self.base,
            models_dir=self.home.models,
            train_file=self.split.file("train.jsonl"),
            held_out_file=self.split.file("held_out.jsonl") if report["held_out_rows"] else None,
            data_digest=report["train_digest"],
            held_out_digest=report["held_out_digest"],
            train_rows=report["train_rows"],
            attempt=attempt,
            start=start,
            cluster=on_kubernetes(),
        )

    def _made(self) -> Iterator[Artifact]:
        """The versions that are what this training would make, the current one first."""
        return filter(self.is_made, known_versions(self.this, self.store))

    def _may_stay(self, start_from: str, start: Start | None) -> bool:
        if self.starts is None:
            return start is None
        wanted = self.starts.start
        if (wanted and wanted.digest) == (start and start.digest):
            return True
        return start_from == "champion" and self.starts.may_stay(start)

    def _is_built_on(self, start: Start | None, digest: str) -> bool:
        return self.starts is not None and start is None and self.starts.is_built_on(digest)

    def _start(self, attempt: int) -> Start | None:
        """What the training starts from.

        What was begun goes on from where it began, and what is repeated is repeated from there,
        whoever has become champion since.
        """
        if self.starts is None:
            return None
        for plan in self._begun():
            if plan.fingerprint == self._plan(plan.start, attempt).fingerprint:
                return plan.start
        if self.this.force:
            for model in self._made():
                return recorded_start(model.manifest.metadata)[1]
        return self.starts.start

    def _begun(self) -> Iterator[TrainPlan]:
        """The plans of trainings of this drop that were begun and not finished."""
        for _, plan in begun(self.home.runs, self.this.run_folder_prefix):
            if self._may_stay(plan.start_from, plan.start):
                yield plan


def _attempt_of(model: Artifact) -> int:
    about: Any = model.manifest.metadata
    return int(about.get("attempt", 0))
