"""One look of the new-data sensor, and what people read of it."""

from __future__ import annotations

from tests.support.new_data_world import World


def look(world: World, after: float = 0.0) -> str | None:
    """What people read of a look some seconds later; None of one that asks for runs."""
    world.now += after
    world.reasons.clear()
    world.tick()
    return world.reasons[-1] if world.reasons else None
