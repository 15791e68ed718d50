"""AdamW with a state that was made for it steps as AdamW that makes its own."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from ft_assets.training.in_process.moments import make_moments


def test_steps_are_the_same_to_the_last_bit():
    torch.manual_seed(0)
    own = nn.Linear(9, 7)
    other = deepcopy(own)
    made, theirs = (torch.optim.AdamW(it.parameters(), fused=True) for it in (own, other))
    make_moments(made)
    for _ in range(3):
        for model, optimizer in ((own, made), (other, theirs)):
            model(torch.arange(18.0).view(2, 9)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert torch.equal(own.weight, other.weight)
    states = [optimizer.state_dict()["state"] for optimizer in (made, theirs)]
    assert [one.keys() for one in states[0].values()] == [one.keys() for one in states[1].values()]
    torch.testing.assert_close(*states, atol=0, rtol=0)
