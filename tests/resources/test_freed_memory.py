"""Memory that a step has freed is there for the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy
from resources.freed_memory import ALL, keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory(ALL)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(16 * 2**20)  # 128 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


RESIDENT = """
import numpy, psutil
from resources.freed_memory import ALL, give_back_freed_memory, keep_freed_memory

def resident():
    return psutil.Process().memory_info().rss // 2**20

keep_freed_memory(ALL)
numpy.ones(64 * 2**20)  # 512 MiB, freed at once
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""


def page_faults(kept: str) -> int:
    """Of making a large array for the second time, in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, kept]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again_without_asking_the_system():
    assert page_faults("left") > 20 * page_faults("kept")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_what_is_kept_can_be_given_back():
    command = [sys.executable, "-c", RESIDENT]
    given_back = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(given_back) > 400  # MiB
