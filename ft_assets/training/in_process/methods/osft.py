"""``osft``: orthogonal subspace fine-tuning, with mini-trainer's own model class and optimizer.

Each target matrix is its singular value decomposition: the directions of the largest singular
values are frozen, those of the smallest (a share ``unfreeze_rank_ratio``) are trained, and before
each step their gradients lose what points into the frozen ones. Nayak et al. 2025,
arXiv:2504.07097; mini_trainer/osft_utils.py.
"""

from __future__ import annotations

# torch, transformers and mini_trainer have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
from pathlib import Path
from typing import Any

import torch
from mini_trainer.osft_utils import create_osft_model_class, optim_wrapper
from transformers import AutoConfig, AutoModelForCausalLM

from ft_assets.training.in_process.methods.method import Method
from resources.errors import UserError


class Osft(Method):
    """Factors in fp32; saved as the matrices that they stand for."""

    def load(self) -> Any:
        """The base model with its target matrices decomposed.

        Raises:
            UserError: a target pattern fits no matrix.
        """
        settings = self.settings
        self.config = AutoConfig.from_pretrained(settings.model_path, local_files_only=True)
        self.model_class = AutoModelForCausalLM._model_mapping[type(self.config)]  # pyright: ignore
        further: dict[str, Any] = {}
        if settings.attention != "auto":
            further["attn_implementation"] = settings.attention
        if settings.target_patterns:
            further["target_patterns"] = settings.target_patterns
        model = create_osft_model_class(self.model_class).from_pretrained(
            settings.model_path,
            fsdp2_lazy_init=False,
            initialize_osft=False,
            rank_ratio=1 - settings.unfreeze_rank_ratio,
            torch_dtype=torch.float32,
            **further,
        )
        _refuse_idle_patterns(model, settings.target_patterns)
        model.reinitialize_osft(decompose_existing_weights=True)
        return model.to(settings.device)

    def optimizer(self, model: Any) -> torch.optim.Optimizer:
        """AdamW whose every step keeps the trained factors orthogonal to the frozen ones."""
        settings = self.settings
        adamw = torch.optim.AdamW(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        return optim_wrapper(adamw, model)

    def save(self, model: Any, folder: Path) -> None:
        """The matrices put together again, as a model of the base model's own class."""
        whole = model.prepare_state_dict_for_save(dict(model.state_dict()))
        with torch.device("meta"):
            plain = self.model_class(self.config)
        plain.load_state_dict(whole, assign=True)
        plain.tie_weights()
        plain.to(self.config.dtype).save_pretrained(folder)


def _refuse_idle_patterns(model: Any, patterns: list[str]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(pattern in name for name in names):
            some = ", ".join(sorted({name.split(".")[-2] for name in names if "." in name})[:12])
            raise UserError(
                f"training.target_patterns: {pattern!r} is in no name of the model's matrices; "
                f"there are, for instance: {some}"
            )
