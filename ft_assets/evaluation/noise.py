"""What the libraries say during an evaluation, and to whom: to a log file, not to the terminal.

stderr stays free for the one message that a user must read; at DEBUG everything shows there too.
"""

# lm-eval and torch are typed in part only: see [tool.pyright] in pyproject.toml.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ft_assets.evaluation.plan import Verbosity

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def keep_local() -> None:
    """Stop ``datasets`` from telling a server about every load, of local data too.

    And vLLM of every start, with the model's architecture and the machine.
    """
    from datasets import config

    config.HF_UPDATE_DOWNLOAD_COUNTS = False
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def silence_before_import() -> None:
    """Settings that the libraries read when they are imported or first used."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # lm-eval's bootstrap would fork one process per core, each a copy of this one.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what its C++ and vLLM's say


@contextmanager
def logging_to(path: Path, verbosity: Verbosity) -> Generator[None]:
    """Send log records and warnings of all libraries to ``path`` from ``verbosity`` on."""
    handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8")]
    if verbosity == "DEBUG":
        handlers.append(logging.StreamHandler())
    root, ours = logging.getLogger(), logging.getLogger("lm_eval")
    levels = (root.level, ours.level)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
        root.addHandler(handler)
    # DEBUG is lm-eval's only: that of the other libraries is of no use to a user.
    root.setLevel("INFO" if verbosity == "DEBUG" else verbosity)
    ours.setLevel(verbosity)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def silence_libraries() -> None:
    """Turn off the progress bars of the libraries, and their own writing to stderr."""
    import datasets
    import transformers
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    datasets.disable_progress_bars()
    for library in (transformers, datasets):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
