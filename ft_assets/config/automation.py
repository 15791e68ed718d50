"""The ``automation`` block: what runs the pipeline without a person."""

from __future__ import annotations

from pydantic import field_validator

from ft_assets.config.block import Block, parameter


class AutomationConfig(Block):
    """What runs the pipeline without a person. Everything is off until the UI switches it on."""

    schedule: str | None = parameter(
        None,
        "Cron expression (UTC) at which the pipeline runs on its newest drop, or on its dataset "
        "when it has no drops. Unchanged data trains nothing.",
    )

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, schedule: str | None) -> str | None:
        if schedule is not None:
            from dagster._utils.schedules import is_valid_cron_string

            if not is_valid_cron_string(schedule):
                raise ValueError(f"is {schedule!r}, which is no cron expression (as in 0 6 * * 1)")
        return schedule
