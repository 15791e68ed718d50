"""Loading what stays as long as the process: modules, classes, definitions.

Belongs here: how Python's collector is kept from looking for garbage where there is none.
"""

from __future__ import annotations

import gc
from types import TracebackType


class LongLived:
    """Around the making of objects that all stay.

    The collector goes through all objects again and again while many are made, and once more when
    the process ends, in every process of every step (``bench/load.py``). Inside it pauses; what
    there is afterwards is set apart (``gc.freeze``), so that no later collection goes through it
    either. Cycles that were dropped meanwhile stay with the rest: therefore it sets apart once in
    a process, and what is loaded again is collected. It does nothing where the collector is off.
    """

    def __enter__(self) -> None:
        self._paused = gc.isenabled()
        gc.disable()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._paused:
            if not gc.get_freeze_count():
                gc.freeze()
            gc.enable()
