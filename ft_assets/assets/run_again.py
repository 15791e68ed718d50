"""Asking Dagster's daemon to run a run again that only came at the wrong moment.

Belongs here: what a run says of itself so that the daemon does so. Does not belong here: what the
wrong moment is (``registered_version.py``, ``drops_up_to.py``), and steps and pods that were lost
(``run_retries`` of the instance, the watchdog).
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.tags import (
    MAX_RETRIES_TAG,
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
    RETRY_STRATEGY_TAG,
)

MOST = 25
"""Runs of one group, the first and all that came in its place. Of drops that run side by side each
time at least one is through."""


def run_again(context: dg.AssetExecutionContext, *, making: Sequence[str] = ()) -> bool:
    """Have the daemon run all steps once more when this run has failed; says whether it will.

    Steps whose inputs are the same find what they made. The number of retries is counted up by
    one, so that the next run is not repeated for another failure. Without a daemon or where the
    instance has ``run_retries`` off it stays with the failure.

    Args:
        context: of the step that fails.
        making: key of an asset that has to be made again for the next run to fare better: a run
            that does not make it is not run again. Empty: the next run fares better as it is.
    """
    chosen = context.run.asset_selection
    if making and chosen and dg.AssetKey(making) not in chosen:
        return False
    group = context.instance.get_run_group(context.run.run_id)
    runs = len(list(group[1])) if group is not None else 1
    if runs >= MOST or not context.instance.run_retries_enabled:
        return False
    context.instance.add_run_tags(
        context.run.run_id,
        {
            MAX_RETRIES_TAG: str(runs),
            RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "true",
            RETRY_STRATEGY_TAG: "ALL_STEPS",
        },
    )
    context.log.info("Dagster's daemon runs this again, if it is there")
    return True
