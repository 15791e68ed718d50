"""transformers' Trainer with batches that hold no padding and logits that nobody asks for.

The rows of a batch are laid end to end in one sequence; position ids that start again at each row
keep them apart in attention (models on which that does not hold, by a measurement before the first
step, get one row at a time). The output layer, a third of a small model's work, is computed only
where an assistant's token is predicted. Both leave the loss as it is: the mean over the trained
tokens of the whole batch, over all processes where several train.
"""

from __future__ import annotations

# torch and transformers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportIncompatibleMethodOverride=false
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import Trainer

from ft_assets.training.in_process.cross_entropy import summed_cross_entropy
from ft_assets.training.in_process.tokens import Row
from ft_assets.training.in_process.world import ALONE, World


class RowTrainer(Trainer):
    """A Trainer whose batch is a list of rows of different length."""

    def __init__(
        self,
        *args: Any,
        max_tokens: int,
        packed: bool,
        max_rows: int | None = None,
        world: World = ALONE,
        **kwargs: Any,
    ) -> None:
        config = kwargs["model"].config
        uses_cache = getattr(config, "use_cache", False)
        super().__init__(*args, data_collator=collate, **kwargs)
        config.use_cache = uses_cache  # the base class switches it off, and it would be saved so
        self.max_tokens = max_tokens if packed else 1
        self.max_rows = max_rows
        self.world = world
        self.in_bf16_on_cpu = self.args.bf16 and self.args.device.type == "cpu"
        """By autocast, which accelerate switches on within the model's forward pass alone."""
        self.last_loss = float("nan")
        """Mean loss per trained token of the last batch, in nats."""
        self.tokens_seen = 0
        self.trained_tokens_seen = 0

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Forward and backward over one batch, in parts of at most ``max_tokens`` tokens."""
        model.train()
        rows: list[Row] = inputs["rows"]
        trained = sum(int(row.trained.sum()) for row in rows)
        loss = torch.zeros((), device=self.args.device)
        for part in parts(self.world.mine(rows), self.max_tokens, self.max_rows):
            with self.compute_loss_context_manager():
                given = filled(part, self.max_tokens) if self.in_bf16_on_cpu else part
                part_loss = loss_sum(model, given) / max(trained, 1)
            self.accelerator.backward(part_loss)
            loss += part_loss.detach()
        if self.world.size > 1:
            loss = self._together(model, loss, trained)
        self.tokens_seen += sum(len(row.ids) for row in rows)
        self.trained_tokens_seen += trained
        self.last_loss = loss.item()
        return loss

    def _together(self, model: torch.nn.Module, loss: torch.Tensor, trained: int) -> torch.Tensor:
        """The whole batch's gradients and loss, from every process's share.

        Raises:
            RuntimeError: the processes did not take their rows from the same batch.
        """
        self.world.add_up_gradients(model.parameters())
        total, counted = self.world.total(float(loss), float(trained))
        if counted != trained * self.world.size:
            raise RuntimeError("the training processes have different rows in the same batch")
        return torch.full_like(loss, total)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated: the batch has no tensor that the estimate of the base class reads."""
        return 0


def collate(rows: Sequence[Row]) -> dict[str, Any]:
    """A batch is its rows; nothing is padded."""
    return {"rows": list(rows)}


def parts(rows: Sequence[Row], max_tokens: int, max_rows: int | None = None) -> Iterator[list[Row]]:
    """Consecutive rows of at most ``max_tokens`` tokens together; a longer row stands alone."""
    part: list[Row] = []
    size = 0
    for row in rows:
        if part and (size + len(row.ids) > max_tokens or len(part) == max_rows):
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row.ids)
    if part:
        yield part


def filled(rows: list[Row], max_tokens: int) -> list[Row]:
    """The rows and, where there is room, one of a few tokens that nothing is learned from.

    With it the number of tokens is a multiple of 8; in between, bf16 products on the CPU take
    longer.
    """
    size = sum(len(row.ids) for row in rows)
    more = -size % 8
    if not more or size + more > max_tokens:
        return rows
    return [*rows, Row(torch.zeros(more, dtype=torch.int64), torch.zeros(more, dtype=torch.bool))]


def loss_sum(model: torch.nn.Module, rows: Sequence[Row]) -> torch.Tensor:
    """Sum over the trained tokens of the cross entropy, in nats; a scalar."""
    ids = torch.cat([row.ids for row in rows]).to(_device(model))
    targets = torch.cat([row.trained for row in rows]).nonzero().squeeze(1).to(ids.device)
    logits = _logits(model, rows, ids, before=targets - 1)
    return summed_cross_entropy(logits, ids[targets])


def _logits(
    model: torch.nn.Module, rows: Sequence[Row], ids: torch.Tensor, before: torch.Tensor
) -> torch.Tensor:
    """Logits [len(before), vocabulary] at the positions ``before``."""
    positions = torch.cat([torch.arange(len(row.ids)) for row in rows]).to(ids.device)
    arguments: dict[str, Any] = {
        "input_ids": ids[None],
        "position_ids": positions[None],
        "use_cache": False,  # with a cache, attention would cross from row to row
    }
    if "logits_to_keep" in inspect.signature(_without_adapter(model).forward).parameters:
        arguments["logits_to_keep"] = before
        return model(**arguments).logits.squeeze(0)
    return model(**arguments).logits.squeeze(0)[before]


def _without_adapter(model: torch.nn.Module) -> torch.nn.Module:
    """The model itself: peft's wrapper takes any argument and says nothing of them."""
    get_base_model = getattr(model, "get_base_model", None)
    return model if get_base_model is None else get_base_model()


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


@torch.no_grad()
def isolates_rows(model: torch.nn.Module, vocabulary: int) -> bool:
    """Whether rows laid end to end give the logits that each gives alone (to one in a thousand)."""
    was_training = model.training
    model.eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (24,), generator=generator)
    everything = torch.ones(12, dtype=torch.bool)
    rows = [Row(ids[:12], everything), Row(ids[12:], everything)]
    ids, at = ids.to(_device(model)), torch.arange(12, device=_device(model))
    together = _logits(model, rows, ids, before=at + 12)
    alone = _logits(model, rows[1:], ids[12:], before=at)
    model.train(was_training)
    return bool((together - alone).abs().max() <= 1e-3 * alone.abs().max())
