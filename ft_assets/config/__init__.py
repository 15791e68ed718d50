"""Everything that a user writes: the pipeline file, its blocks, and how both are read.

Belongs here: a parameter's name, type, default, range and description, once. Does not belong here:
what a parameter does.
"""

from ft_assets.config.automation import AutomationConfig
from ft_assets.config.dataset import DatasetConfig, SourceConfig, SplitConfig
from ft_assets.config.evaluation import EvaluationConfig
from ft_assets.config.kubernetes import KubernetesConfig
from ft_assets.config.load import find_pipelines, find_recipes, load_pipeline
from ft_assets.config.pipeline import Pipeline, PipelineSpec
from ft_assets.config.registry import RegistryConfig
from ft_assets.config.training import TrainingConfig

__all__ = [
    "AutomationConfig",
    "DatasetConfig",
    "EvaluationConfig",
    "KubernetesConfig",
    "Pipeline",
    "PipelineSpec",
    "RegistryConfig",
    "SourceConfig",
    "SplitConfig",
    "TrainingConfig",
    "find_pipelines",
    "find_recipes",
    "load_pipeline",
]
