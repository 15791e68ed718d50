"""``training.start_from: champion``: which registered version a drop's training starts from.

Models that were trained one on top of the other form a line, which begins with a base model. A
drop's model never starts from itself, and a champion that came into force since makes no finished
model out of date: what it was started from has to be in the line of the champion, no more. Dagster
does not know of this dependency (each drop would depend on all others); fingerprint, provenance and
page say it.

Belongs here: the line, and what may be started from. Does not belong here: what is recorded about
a start (``training/start.py``) and the plan of a training (``training_work.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from ft_assets.assets.champion import Champion, open_champion, refuse_lost_champion
from ft_assets.assets.trained_rows import recorded_split
from ft_assets.training.plan import TrainPlan
from ft_assets.training.start import Start
from ft_assets.training.start_folder import known_folder, own_special_tokens
from resources.errors import UserError
from resources.registry import open_registry
from resources.store.manifest import broken_files

if TYPE_CHECKING:
    from ft_assets.config import PipelineSpec
    from ft_assets.training.base_model import BaseModelRef
    from resources.registry import Registry, RegistryHub
    from resources.store import Artifact, ArtifactStore

_MODEL = "finetuned_model"


class ChampionStarts:
    """What a training of one drop may start from, by the champion that is in force now.

    Args:
        store: where the models are.
        registry: where the champion is.
        spec: the effective specification.
        partition: the drop.
        rows: data version of its split, where that is made.
    """

    def __init__(
        self,
        store: ArtifactStore,
        registry: Registry,
        spec: PipelineSpec,
        partition: str | None,
        rows: str | None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._spec = spec
        self._partition = partition
        self._rows = rows

    @cached_property
    def champion(self) -> Start | None:
        """The registered version in force.

        Raises:
            UserError: its artifacts are gone, or the model has versions and none is in force.
        """
        name = self._spec.registry.name
        version = self._registry.champion(name)
        if version is None:
            refuse_lost_champion(self._registry, name)
            return None
        opened = open_champion(self._store, Champion.of(version))
        plan = TrainPlan.of_manifest(opened.model.manifest.metadata)
        before = plan.start
        return Start(
            model=name,
            version=version.version,
            digest=opened.champion.digest,
            asset="/".join(opened.model.key),
            partition=opened.model.partition,
            artifact=opened.model.digest,
            base_name=before.base_name if before else plan.base_model.name,
            base_digest=before.base_digest if before else plan.base_model.digest,
            trainings=before.trainings + 1 if before else 1,
        )

    @cached_property
    def start(self) -> Start | None:
        """The nearest model in the champion's line that is not this drop's own; None: the base.

        Its own is a model of the same drop, and any that was trained on the very same rows: these
        rows would be trained on twice.

        Raises:
            UserError: as ``champion``; or a model of the line is gone.
        """
        return next((s for s, model in self._line() if not self._is_own(s, model)), None)

    def may_stay(self, start: Start | None) -> bool:
        """Whether a model that was started from this one is still what the champion asks for.

        Yes when the champion, or a model in its line, is what it was started from: so it is with
        the champion's own model, with that of an earlier drop, and with one that lost. No after a
        rollback to a champion before its start. Where the line cannot be followed to its end
        (versions were removed), nothing speaks against it.
        """
        if start is None or self.champion is None:
            return True
        return self._has(start.digest, start.trainings)

    def is_built_on(self, digest: str) -> bool:
        """Whether the champion is this model, trained from a base model, or was built on it.

        What came before ``start_from: champion`` was set: trained again from the champion, its rows
        would be trained on twice.
        """
        return self.champion is not None and self._has(digest, 1)

    def _has(self, digest: str, trainings: int) -> bool:
        """Whether a model with so many trainings behind it is in the line, as far as is known."""
        try:
            for one, _ in self._line():
                if one.digest == digest:
                    return True
                if one.trainings <= trainings:
                    return False
        except UserError:
            return True
        return False

    def _line(self) -> Iterator[tuple[Start, Artifact]]:
        """The champion, what it was started from, and so on; one manifest is read at a time."""
        start = self.champion
        while start is not None:
            model = open_start(self._store, start)
            yield start, model
            start = TrainPlan.of_manifest(model.manifest.metadata).start

    def _is_own(self, start: Start, model: Artifact) -> bool:
        same_asset = start.asset == "/".join(self._spec.key(_MODEL))
        if self._partition is not None and same_asset and start.partition == self._partition:
            return True
        return self._rows is not None and self._rows == _rows_of(model)


def champion_starts(
    store: ArtifactStore,
    registry: RegistryHub | Registry,
    spec: PipelineSpec,
    partition: str | None,
) -> ChampionStarts | None:
    """What a drop's training may start from; None where it starts from the base model."""
    if spec.training.start_from == "base":
        return None
    split = store.find(spec.key("split_dataset"), partition)
    opened = open_registry(registry, spec.registry.settings())
    rows = None if split is None else split.data_version
    return ChampionStarts(store, opened, spec, partition, rows)


def open_start(store: ArtifactStore, start: Start) -> Artifact:
    """The artifact of a start.

    Raises:
        UserError: it is gone.
    """
    try:
        return store.open_version(start.asset.split("/"), start.partition, start.artifact)
    except UserError as error:
        raise UserError(
            f"training.start_from: champion: {start} cannot be started from: {error}. Bring its "
            "artifact back into the artifact store, put another version in force (ft registry "
            f"promote {start.model} VERSION --why TEXT), or set start_from: base"
        ) from error


def located(store: ArtifactStore, start: Start, spec: PipelineSpec) -> BaseModelRef:
    """The folder of a start on this machine, as a model to load. Every byte is checked.

    Raises:
        UserError: it is gone, or not what was registered.
    """
    model = open_start(store, start)
    broken = broken_files(model.path, model.manifest)
    if broken:
        raise UserError(
            f"training.start_from: champion: {start} at {model.path} is not what was registered: "
            f"{broken[0]} is missing or damaged; restore it (ft verify names every such file)"
        )
    folder = model.path / "model"
    own = own_special_tokens(folder)
    asked = spec.training.special_tokens
    return known_folder(
        folder,
        start.digest,
        hf_token_env=spec.training.hf_token_env,
        special_tokens={name: token for name, token in asked.items() if own.get(name) != token},
    )


def shaped_as(
    store: ArtifactStore, base: BaseModelRef, starts: ChampionStarts | None, spec: PipelineSpec
) -> BaseModelRef:
    """The model whose tokenizer and architecture the training has.

    A champion whose line began with the pipeline's base model has that one's, so that it need not
    be fetched to count tokens and to estimate.
    """
    start = starts.start if starts is not None else None
    if start is None or start.base_digest == base.digest:
        return base
    return located(store, start, spec)


def unlike_the_base(start: Start | None, base: BaseModelRef) -> str | None:
    """What to say when a champion's line began with another base model than the pipeline's."""
    if start is None or start.base_digest == base.digest:
        return None
    return (
        f"The training starts from {start}, whose line began with {start.base_name} "
        f"({start.base_digest[:12]}) and not with training.base_model {base.name} "
        f"({base.digest[:12]}): it keeps its own architecture, tokenizer and chat template, and is "
        "compared with base_model all the same"
    )


def _rows_of(model: Artifact) -> str | None:
    """Data version of the split that a model was trained on."""
    split = recorded_split(model)
    return None if split is None else str(split["data_version"])
