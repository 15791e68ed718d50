"""The call of training_hub that a person would write: no plan, no worker, nothing followed.

``python bench/gpu/by_hand.py CALL.json``, with the function's name and its arguments.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    import training_hub

    call = json.loads(Path(sys.argv[1]).read_text())
    getattr(training_hub, call["algorithm"])(**call["arguments"])


if __name__ == "__main__":
    main()
