"""The model in llama.cpp's own format, by llama.cpp's own converter where that is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from resources.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

TYPES = ("f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0", "auto")
_MODULE = "convert_hf_to_gguf"
_PROGRAMS = ("llama-convert-hf-to-gguf", "convert_hf_to_gguf.py", "convert_hf_to_gguf")
_MAGIC = b"GGUF"
_SAID = 400  # characters of a converter's last words


def converter() -> list[str]:
    """How llama.cpp's converter is started here.

    Raises:
        UserError: it is not installed.
    """
    if find_spec(_MODULE) is not None:
        return [sys.executable, "-m", _MODULE]
    for program in _PROGRAMS:
        if path := shutil.which(program):
            return [path]
    raise UserError(
        "--gguf: llama.cpp's converter is not installed here (neither a Python module "
        f"{_MODULE} nor a program {_PROGRAMS[0]}; the package gguf alone holds none): install "
        "llama.cpp's Python scripts (pip install from a checkout of llama.cpp), or leave --gguf "
        "out and convert the exported folder where llama.cpp is"
    )


def write_gguf(start: list[str], model: Path, target: Path, outtype: str) -> None:
    """Convert a model folder.

    Args:
        start: as :func:`converter` gives it.
        model: a folder with safetensors weights, configuration and tokenizer.
        target: the file to write.
        outtype: one of ``TYPES``.

    Raises:
        UserError: the converter failed, or what it wrote is no GGUF file.
    """
    command = [*start, str(model), "--outfile", str(target), "--outtype", outtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-_SAID:]
        raise UserError(f"--gguf {outtype}: the converter failed: {said}")
    if not target.is_file() or _first(target) != _MAGIC:
        raise UserError(
            f"--gguf {outtype}: the converter wrote no GGUF file: check its version "
            f"({' '.join(start)})"
        )


def _first(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(len(_MAGIC))
