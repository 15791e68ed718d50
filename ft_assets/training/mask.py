"""Which turns of a chat are trained on: axolotl's rules.

A turn's own ``train`` decides about it; where it says nothing, the policy does.
"""

from __future__ import annotations

from typing import Literal

from resources.record import Record

Eos = Literal["turn", "all", "last", "none"]


class MaskPolicy(Record):
    """What is trained on where the rows do not say so themselves."""

    roles_to_train: tuple[str, ...] = ("assistant",)
    """Roles whose turns are trained on."""
    train_on_inputs: bool = False
    """Train on the turns of all roles."""
    train_on_eos: Eos = "turn"
    """The token that ends a turn is trained on: of trained turns, of all, of the last, or never."""

    def trains(self, role: str, train: bool | None) -> bool:
        """Whether a turn is trained on; ``train`` is what it says itself."""
        if train is not None:
            return train
        return self.train_on_inputs or role in self.roles_to_train


ASSISTANT_TURNS = MaskPolicy()
"""Every assistant turn and the token that ends it: what the held-out evaluation scores."""
