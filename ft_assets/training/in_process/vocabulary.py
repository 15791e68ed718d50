"""The gradients of word embeddings and output layer, added up where they are kept.

autograd makes the gradient of a lookup as a matrix of the whole vocabulary, zeros but for the words
that occur, and where both layers share their weights adds it to the output layer's; each step makes
all of them anew (SmolLM2-135M: 113 MB each). Here the output layer's product is written to memory
that stays from step to step, and the rows that occur are added to it.

In bf16 (autocast over fp32 weights) the product is bf16, as autograd's is, and then added in fp32.

Belongs here: the two layers at both ends of the model, on the CPU. Everything else is left to
autograd.
"""

from __future__ import annotations

# torch and transformers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportIncompatibleMethodOverride=false
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def keep_vocabulary_gradients(model: Any) -> None:
    """Let the model's embeddings and output layer add to kept gradients, where that is the same.

    It is for torch's own layers with weights in fp32 that are trained; those of a class of their
    own (Gemma's embeddings are scaled), or whose forward pass somebody replaced, stay as they are.
    """
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    kept: dict[int, _Gradient] = {}
    if _is_plain_embedding(embedding):
        gradient = kept.setdefault(id(embedding.weight), _Gradient(embedding.weight))
        embedding.forward = partial(_look_up, embedding, embedding.forward, gradient)
    if _is_plain_output(output):
        gradient = kept.setdefault(id(output.weight), _Gradient(output.weight))
        output.forward = partial(_project, output.forward, gradient)


class _Gradient:
    """One weight's gradient, in the same memory at each step, and in bf16 the weight cast."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self._memory: Tensor | None = None
        self._bf16: Tensor | None = None
        self._bf16_is_weight = False

    def weight_in(self, dtype: torch.dtype, *, anew: bool) -> Tensor:
        """The weight; in another dtype than its own, in memory that stays.

        Args:
            anew: it may have changed since it was asked for last.
        """
        if dtype == self.weight.dtype:
            return self.weight
        if self._bf16 is None:
            self._bf16 = torch.empty_like(self.weight, dtype=dtype, requires_grad=False)
        if anew or not self._bf16_is_weight:
            self._bf16.copy_(self.weight.detach())
            self._bf16_is_weight = True
        return self._bf16

    def add_product(self, left: Tensor, right: Tensor) -> None:
        """Add ``left`` [vocabulary, n] times ``right`` [n, width]."""
        if left.dtype != self.weight.dtype:
            assert self._bf16 is not None
            self._bf16_is_weight = False  # it has been used: the product may lie there
            self._add(torch.mm(left, right, out=self._bf16))
        elif self.weight.grad is None:
            self.weight.grad = torch.mm(left, right, out=self._take())
        else:
            self.weight.grad.addmm_(left, right)

    def add_rows(self, rows: Tensor, values: Tensor) -> None:
        """Add ``values`` [n, width] to the rows ``rows`` [n]; one may occur more than once."""
        if self.weight.grad is None:
            self.weight.grad = self._take().zero_()
        self.weight.grad.index_add_(0, rows, values)

    def _add(self, product: Tensor) -> None:
        if self.weight.grad is None:
            self.weight.grad = self._take().copy_(product)
        else:
            self.weight.grad.add_(product)

    def _take(self) -> Tensor:
        if self._memory is None:
            self._memory = torch.empty_like(self.weight, requires_grad=False)
        return self._memory


class _Projection(torch.autograd.Function):
    """``hidden @ weight.T``; its backward pass adds to the kept gradient of the weight."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gradient: _Gradient) -> Tensor:
        ctx.came_in, hidden = hidden.dtype, hidden.to(_dtype())
        ctx.save_for_backward(hidden)
        ctx.gradient = gradient
        return functional.linear(hidden, gradient.weight_in(hidden.dtype, anew=True))

    @staticmethod
    def backward(ctx: Any, of_logits: Tensor) -> tuple[Tensor, None]:
        (hidden,) = ctx.saved_tensors
        gradient: _Gradient = ctx.gradient
        of_hidden = of_logits @ gradient.weight_in(of_logits.dtype, anew=False)
        gradient.add_product(of_logits.flatten(0, -2).t(), hidden.flatten(0, -2))
        return of_hidden.to(ctx.came_in), None


def _project(own: Any, gradient: _Gradient, hidden: Tensor) -> Tensor:
    if not _is_trained(gradient.weight) or not hidden.requires_grad:
        return own(hidden)
    return _Projection.apply(hidden, gradient)


def _look_up(layer: nn.Embedding, own: Any, gradient: _Gradient, ids: Tensor) -> Tensor:
    """The embeddings, from a leaf of the graph: what arrives there goes to the rows of the weight.

    A copy of the leaf is returned: some models (CTRL, GIT) change their embeddings in place, and
    autograd lets nobody change a leaf.
    """
    if not _is_trained(layer.weight):
        return own(ids)
    states = functional.embedding(ids, layer.weight.detach()).requires_grad_()

    def add(leaf: Tensor) -> None:
        assert leaf.grad is not None
        rows, values = ids.flatten(), leaf.grad.flatten(0, -2)
        if layer.padding_idx is not None:  # torch's own gives this row no gradient
            trained = rows != layer.padding_idx
            rows, values = rows[trained], values[trained]
        gradient.add_rows(rows, values)
        leaf.grad = None

    states.register_post_accumulate_grad_hook(add)
    return states.clone()


def _is_trained(weight: Tensor) -> bool:
    """Whether this forward pass is followed by a backward pass to this weight, kept in fp32."""
    return torch.is_grad_enabled() and weight.requires_grad and weight.dtype == torch.float32


def _dtype() -> torch.dtype:
    """That of a product here and now."""
    autocast = torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if autocast else torch.float32


def _is_plain_embedding(layer: Any) -> bool:
    return (
        type(layer) is nn.Embedding
        and "forward" not in vars(layer)
        and layer.max_norm is None
        and not layer.scale_grad_by_freq
        and not layer.sparse
    )


def _is_plain_output(layer: Any) -> bool:
    without_bias = getattr(layer, "bias", None) is None
    return without_bias and type(layer) is nn.Linear and "forward" not in vars(layer)
