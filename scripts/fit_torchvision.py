"""Remove torchvision where it does not fit torch.

training-hub requires timm and timm requires torchvision, which nothing here imports. PyPI's build
is for CUDA; beside a CPU build of torch it fails at import, and training-hub with it. Where it
imports, it stays.
"""

import subprocess
import sys
from importlib.util import find_spec

if find_spec("torchvision") is not None:
    trial = subprocess.run(
        [sys.executable, "-c", "import torchvision"], capture_output=True, check=False
    )
    if trial.returncode != 0:
        subprocess.run(
            [sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"],
            check=True,
        )
