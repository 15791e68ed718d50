"""How often the watchdog looks, how long it waits, and how often a lost step is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WatchSettings:
    """The deadlines of one step's watchdog, in seconds."""

    poll_seconds: int = 5
    """Between two looks at the pods of the running steps."""
    event_seconds: float = 0.5
    """Between two looks at the event log, which say that a step has ended and the next can go."""
    patience_seconds: float = 60.0
    """How long a mistake in the configuration may stand before the step fails: a missing secret
    may be about to be created."""
    node_patience_seconds: float = 60.0
    """How long a lost node may take to come back, or a deleted pod to end, before the step is
    tried again elsewhere."""
    queue_seconds: float = 86_400.0
    """From the creation of the job until its container runs; ``kubernetes.queue_timeout`` of the
    pipeline comes first."""
    end_seconds: float = 20.0
    """How long a step whose pod has ended may take to appear as ended in the event log."""
    retries: int = 2
    """Further attempts of a step that the cluster lost, where its op has no retry policy."""
    retry_delay_seconds: float = 10.0
    """Before the second attempt; twice as long before the third."""

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the failed ``attempt`` (0 is the first)."""
        return self.retry_delay_seconds * 2**attempt
