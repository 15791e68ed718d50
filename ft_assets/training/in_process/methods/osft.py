"""``osft``: orthogonal subspace fine-tuning, with mini-trainer's own model class and optimizer.

Each target matrix is its singular value decomposition: the directions of the largest singular
values are frozen, those of the smallest (a share ``unfreeze_rank_ratio``) are trained, and each
step leaves out what points into the frozen ones. Nayak et al. 2025, arXiv:2504.07097;
mini_trainer/osft_utils.py.

Decomposition, optimizer wrapper and the way back to matrices are mini-trainer's. Its products are
computed otherwise, for speed and with the same result: the frozen part is one matrix instead of
two, and a projection goes through whichever of the two bases is smaller, that of the frozen
directions or that of the others.
"""

from __future__ import annotations

# torch, transformers and mini_trainer have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pyright: reportUntypedBaseClass=false
import io
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mini_trainer.osft_utils import (
    auto_generate_target_osft_config,
    create_osft_model_class,
    get_model_patterns,
    optim_wrapper,
)

from ft_assets.training.in_process.file_tensors import keep_in_a_file
from ft_assets.training.in_process.fp32_product import product
from ft_assets.training.in_process.methods.method import Method, load_pretrained
from ft_assets.training.in_process.methods.osft_product import decomposed_linear
from ft_assets.training.in_process.moments import make_moments
from resources.errors import UserError


class Osft(Method):
    """Factors in fp32; saved as the matrices that they stand for."""

    def load(self) -> Any:
        """The base model with its target matrices decomposed.

        Raises:
            UserError: a target pattern fits no matrix.
        """
        settings = self.settings
        plain = load_pretrained(settings)
        self.model_class = type(plain)
        self.config, self.published_dtype = plain.config, plain.config.dtype
        self.generation_config = plain.generation_config
        with _quietly():
            model = _decomposable(plain)
            model.osft_config = _ranks(
                model,
                self.model_class,
                settings.target_patterns,
                frozen_share=1 - settings.unfreeze_rank_ratio,
            )
            model.reinitialize_osft(decompose_existing_weights=True)
        del plain
        dtype = torch.bfloat16 if settings.machine["precision"] == "bf16" else torch.float32
        unused = [factor for module in model.osft_modules() for factor in _prepare(module, dtype)]
        keep_in_a_file(unused, settings.run_dir)
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
        make_moments(adamw)
        return optim_wrapper(adamw, model)

    def save(self, model: Any, folder: Path) -> None:
        """The matrices put together again, as a model of the base model's own class."""
        with _quietly():
            whole = model.prepare_state_dict_for_save(dict(model.state_dict()))
        with torch.device("meta"):
            plain = self.model_class(self.config)
        plain.load_state_dict(whole, assign=True)
        plain.tie_weights()
        plain.generation_config = self.generation_config
        plain.to(self.published_dtype).save_pretrained(folder)


def _decomposable(plain: Any) -> Any:
    """The same model in fp32, of mini-trainer's class, with nothing decomposed yet."""
    architecture = type(plain)
    osft_class: Any = create_osft_model_class(architecture)

    class Decomposable(osft_class):
        """mini-trainer's model, projecting through the smaller basis."""

        @classmethod
        def _can_set_attn_implementation(cls) -> bool:
            return architecture._can_set_attn_implementation()  # it reads the class's own file

        def osft_modules(self) -> list[Any]:
            return [module for module in self.modules() if hasattr(module, "osft_U_high")]

        @torch.no_grad()
        def project_gradients(self) -> None:
            for module in self.osft_modules():
                u, v = module.osft_params.U_low.grad, module.osft_params.V_low.grad
                if u is not None:
                    _project_gradient(u, module, "U")
                if v is not None:
                    _project_gradient(v.T, module, "V")

        @torch.no_grad()
        def project_parameters(self) -> None:
            for module in self.osft_modules():
                low = module.osft_params
                _project(low.U_low.data, module.osft_U_high, module.osft_U_free)
                _project(low.V_low.data.T, module.osft_V_high.T, module.osft_V_free)

    model = Decomposable(plain.config, initialize_osft=False, output_dtype=torch.float32)
    model.load_state_dict(plain.state_dict())
    return model.float()


def _ranks(
    model: Any, architecture: type, patterns: list[str], frozen_share: float
) -> dict[str, int]:
    """Frozen directions of each target matrix, by name.

    mini-trainer alone would look for the architecture in the folder's path, where any word may be.
    """
    linear = [f"{name}.weight" for name, module in model.named_modules() if _is_linear(module)]
    known = ", ".join(sorted({name.split(".")[-2] for name in linear})[:12])
    for pattern in patterns:
        if not any(pattern in name for name in linear):
            raise UserError(
                f"training.target_patterns: {pattern!r} is in no name of the model's linear "
                f"layers; there are: {known}"
            )
    wanted = patterns or get_model_patterns(architecture)
    ranks = auto_generate_target_osft_config(model, target_patterns=wanted, rank_ratio=frozen_share)
    other = sorted(set(ranks) - set(linear))
    if other:
        raise UserError(
            f"training.target_patterns: {other[0]} is no linear layer's matrix, and OSFT treats no "
            f"other: name some of {known}"
        )
    if not ranks:
        raise UserError(
            f"training.target_patterns: none of mini-trainer's own patterns ({', '.join(wanted)}) "
            f"is in a name of the model's linear layers: name some of {known}"
        )
    return ranks


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


@torch.no_grad()
def _prepare(module: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    """Add what the quicker products need; none of it is trained, or in the model's folder.

    Args:
        dtype: that in which the steps compute; the frozen part needs no other.

    Returns:
        the frozen factors that no step needs then, only a checkpoint and the model at the end.
    """
    low = module.osft_params
    frozen = (module.osft_U_high * module.osft_S_high) @ module.osft_V_high
    added = {
        "osft_high": frozen.to(dtype),
        "osft_U_free": _free_basis(module.osft_U_high, low.U_low),
        "osft_V_free": _free_basis(module.osft_V_high.T, low.V_low.T),
    }
    for name, tensor in added.items():
        module.register_buffer(name, tensor, persistent=False)
    module.forward = partial(_forward, module)
    factors = (("osft_U_free", module.osft_U_high), ("osft_V_free", module.osft_V_high))
    return [high for free, high in factors if added[free] is not None]


def _forward(module: Any, x: torch.Tensor) -> torch.Tensor:
    low = module.osft_params
    factors = (low.U_low, low.S_low, low.V_low)
    return decomposed_linear(x, module.osft_high, module.bias, factors)


def _free_basis(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor | None:
    """``low`` [n, k] where it spans all that is orthogonal to ``high`` [n, m], and is smaller."""
    complete = high.shape[1] + low.shape[1] == high.shape[0]
    return low.detach().clone() if complete and low.shape[1] < high.shape[1] else None


def _project(columns: torch.Tensor, high: torch.Tensor, free: torch.Tensor | None) -> None:
    """Take out of ``columns``, in place, what lies in the span of ``high``."""
    if free is None:
        within = product(columns.T, high)  # in this order the wider matrix is read as it lies
        columns.sub_(product(high, within.T))
    else:
        columns.copy_(product(free, product(free.T, columns)))


def _project_gradient(columns: torch.Tensor, module: Any, side: str) -> None:
    """The same with a gradient, in the precision that it was computed in.

    What the factors are moved by is projected again, in fp32: :func:`_project`.
    """
    high = module.osft_U_high if side == "U" else module.osft_V_high.T
    free = getattr(module, f"osft_{side}_free")
    dtype = module.osft_high.dtype
    if dtype == torch.float32:
        _project(columns, high, free)
        return
    basis = (high if free is None else free).to(dtype)
    within = basis @ (columns.T.to(dtype) @ basis).T
    if free is None:
        columns.sub_(within)
    else:
        columns.copy_(within)


@contextmanager
def _quietly() -> Generator[None]:
    """mini-trainer tells of each of its steps; exceptions pass."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
