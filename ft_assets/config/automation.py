"""The ``automation`` block: what runs the pipeline without a person."""

from __future__ import annotations

from pydantic import field_validator

from ft_assets.config.block import Block, parameter

LEAST_AGE_HOURS = 0.02
"""Just above the minute that is Dagster's own least."""


class AutomationConfig(Block):
    """What runs the pipeline without a person: a sensor for new data, and a schedule."""

    enabled: bool = parameter(
        False,
        "Whether the pipeline's sensor and schedule are on from the start. Else they are off until "
        "the UI switches them on. The UI's switch always wins.",
    )
    interval: int = parameter(60, "Seconds between two looks for new data.", ge=5)
    quiet: int = parameter(
        60,
        "A drop is complete when two looks at least this many seconds apart find it the same. "
        "0 takes it as it is first seen.",
        ge=0,
    )
    marker: str | None = parameter(
        None,
        "Name of the file that says that a drop is complete, as in _SUCCESS: it lies in the drop's "
        "folder, or beside its file as FILE.NAME. With a marker, nothing else completes a drop.",
    )
    min_new_rows: int = parameter(
        0,
        "A complete drop with fewer rows waits until it has grown. With dataset.accumulate, the "
        "rows of all drops that wait count together.",
        ge=0,
    )
    cool_down: int = parameter(
        0, "Seconds from the start of an automatic run to the next one; 0 waits for nothing.", ge=0
    )
    runs_per_day: int = parameter(
        0, "Most automatic runs that begin in 24 hours; 0 means no bound.", ge=0
    )
    gpu_hours_per_day: float = parameter(
        0.0,
        "No automatic run begins once those of the last 24 hours have used this many GPU hours; "
        "0 means no bound. A run that has begun is not stopped.",
        ge=0,
    )
    dry_run: bool = parameter(False, "Say in every look what would be run, and run nothing.")
    watch_base_model: bool = parameter(
        False,
        "Run on the newest complete drop when the branch of the base model on the hub points to "
        "another commit. Has no effect on a pinned commit or a path.",
    )
    max_age_hours: float = parameter(
        0.0,
        "Freshness: the UI marks registered_version as too old once no version was registered, or "
        "found to be up to date, for this many hours. 0 asks for no freshness; the least is 0.02.",
        ge=0,
        le=87_600,
        allow_inf_nan=False,
    )
    schedule: str | None = parameter(
        None,
        "Cron expression (UTC) at which the pipeline runs on its newest drop, or on its dataset "
        "when it has no drops. Unchanged data trains nothing.",
    )

    @field_validator("marker")
    @classmethod
    def _is_no_dataset_file(cls, marker: str | None) -> str | None:
        if marker is not None:
            if not marker or "/" in marker or marker.startswith("."):
                raise ValueError(
                    f"is {marker!r}, which is no file name (as in _SUCCESS): write it without a "
                    "folder and without a dot in front"
                )
            from resources.sources.files import is_allowed

            if is_allowed(marker):
                raise ValueError(f"is {marker!r}, which would be a dataset file: as in _SUCCESS")
        return marker

    @field_validator("max_age_hours")
    @classmethod
    def _is_an_age_that_dagster_takes(cls, hours: float) -> float:
        if 0 < hours < LEAST_AGE_HOURS:
            raise ValueError(
                f"is {hours:g}: Dagster looks at ages of a minute and more: set {LEAST_AGE_HOURS} "
                "or more, or 0 for no freshness"
            )
        return hours

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, schedule: str | None) -> str | None:
        if schedule is not None:
            from dagster._utils.schedules import is_valid_cron_string

            if not is_valid_cron_string(schedule):
                raise ValueError(f"is {schedule!r}, which is no cron expression (as in 0 6 * * 1)")
        return schedule
