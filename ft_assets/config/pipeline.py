"""The pipeline file as a whole."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import PrivateAttr, field_validator, model_validator

from ft_assets.config.automation import AutomationConfig
from ft_assets.config.block import Block, parameter
from ft_assets.config.dataset import PARTITION, DatasetConfig
from ft_assets.config.evaluation import EvaluationConfig
from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.promotion import PromotionConfig
from ft_assets.config.recipes import PER_RECIPE, RecipeConfig, refuse_bad_names, training_of
from ft_assets.config.registry import RegistryConfig
from ft_assets.config.training import TrainingConfig
from resources.errors import UserError

_OWNER = re.compile(r"team:[A-Za-z0-9._-]+|[^@\s]+@[^@\s]+\.[^@\s]+")


class PipelineSpec(Block):
    """One pipeline: everything that its YAML file says, with every default filled in."""

    name: str = parameter(
        description="Name of the pipeline, of its asset group and of its job.",
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
    )
    description: str = parameter("", "What the pipeline is for; shown in the UI.")
    owners: list[str] = parameter([], "Owners: e-mail addresses or team:NAME.")
    tags: dict[str, str] = parameter({}, "Tags of the pipeline's assets and runs.")
    dataset: DatasetConfig
    training: TrainingConfig = TrainingConfig()
    recipes: dict[str, RecipeConfig] = parameter(
        {},
        "Variants of the training by name: what each changes of the training block. Each has a "
        "model, a report and a registered model (NAME-RECIPE) of its own; the data is shared.",
    )
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    registry: RegistryConfig = RegistryConfig()
    kubernetes: KubernetesConfig = KubernetesConfig()
    automation: AutomationConfig = AutomationConfig()

    _recipe: str | None = PrivateAttr(None)

    @field_validator("owners")
    @classmethod
    def _owners(cls, owners: list[str]) -> list[str]:
        for owner in owners:
            if not _OWNER.fullmatch(owner):
                raise ValueError(f"{owner!r} is neither an e-mail address nor team:NAME")
        return owners

    @field_validator("recipes")
    @classmethod
    def _recipe_names(cls, recipes: dict[str, RecipeConfig]) -> dict[str, RecipeConfig]:
        refuse_bad_names(recipes)
        return recipes

    @model_validator(mode="after")
    def _recipes_make_a_training(self) -> PipelineSpec:
        for name, recipe in self.recipes.items():
            training_of(self.training, name, recipe)
        return self

    @model_validator(mode="after")
    def _something_is_measured(self) -> PipelineSpec:
        if not self.holds_out and not self.evaluation.tasks:
            raise ValueError(
                "dataset.split: 1.0 holds nothing out and evaluation.tasks is empty, so that "
                "nothing would be measured: lower the split or name a task"
            )
        return self

    @model_validator(mode="after")
    def _what_decides_is_measured(self) -> PipelineSpec:
        self.promotion.refuse_unknown_tasks(self.evaluation.tasks, held_out=self.holds_out)
        return self

    @property
    def holds_out(self) -> bool:
        """Whether there are held-out rows: a part of the dataset, or rows of their own."""
        return self.dataset.split < 1.0 or self.dataset.eval_uri is not None

    @property
    def partitioned(self) -> bool:
        """Whether the dataset arrives in drops: its URI holds ``{partition}``."""
        return PARTITION in self.dataset.uri

    @property
    def recipe(self) -> str | None:
        """The recipe that this is the specification of; None for the training block as it is."""
        return self._recipe

    def of_recipe(self, recipe: str | None) -> PipelineSpec:
        """The same values, as the specification of a recipe."""
        spec = self.model_copy()
        spec._recipe = recipe
        return spec

    def recipe_specs(self) -> dict[str, PipelineSpec]:
        """One specification per recipe, with its training and a registered model of its own."""
        return {
            name: self.model_copy(
                update={
                    "training": training_of(self.training, name, recipe),
                    "recipes": {},
                    "registry": self.registry.model_copy(
                        update={"name": f"{self.registry.name}-{name}"}
                    ),
                }
            ).of_recipe(name)
            for name, recipe in self.recipes.items()
        }

    @property
    def label(self) -> str:
        """The pipeline's name, or ``PIPELINE/RECIPE``."""
        return self.name if self.recipe is None else f"{self.name}/{self.recipe}"

    def key(self, asset: str) -> list[str]:
        """Key of one of its assets, in Dagster and in the store."""
        if self.recipe is not None and asset in PER_RECIPE:
            return [self.name, self.recipe, asset]
        return [self.name, asset]

    def op(self, asset: str) -> str:
        """Dagster's name of the op behind one of its assets."""
        return "__".join(self.key(asset))

    @property
    def digest(self) -> str:
        """sha256 of everything in the specification, 64 hex characters."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True)
class Pipeline:
    """A specification and the file that it was read from."""

    spec: PipelineSpec
    file: Path

    def __post_init__(self) -> None:
        # A file speaks for every run to come; who overrules has looked at one candidate.
        if self.spec.promotion.overrule:
            raise UserError(
                f"{self.file}: promotion.overrule is for one run, not for a pipeline file, where "
                "it would overrule the court for every candidate to come: remove it, and set it "
                "for the run (--set promotion.overrule='NAME: REASON')"
            )

    @property
    def recipe(self) -> str | None:
        """The recipe that this is the pipeline of; None for the training block as it is."""
        return self.spec.recipe

    @property
    def label(self) -> str:
        """The pipeline's name, or ``PIPELINE/RECIPE``."""
        return self.spec.label

    def recipes(self) -> list[Pipeline]:
        """The pipelines of its recipes: they share its data, and each trains in its own way."""
        return [Pipeline(spec, self.file) for spec in self.spec.recipe_specs().values()]

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self.file.parent


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces: the same bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
