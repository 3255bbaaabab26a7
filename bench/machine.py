"""Where figures were taken: the machine, how busy it was, the versions, and the commit."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.pipeline.workers import num_cores

VERSIONED = (
    *("torch", "transformers", "peft", "accelerate", "tokenizers", "datasets"),
    *("numpy", "pillow", "opencv-python-headless"),
)


def describe_machine() -> dict[str, Any]:
    """Absolute times mean nothing without it, and little with it."""
    import torch  # late: see bench.run

    return {
        "processor": processor_name(),
        "cores": num_cores(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in VERSIONED}


def load_average() -> float:
    """Of the last minute: how many processes wanted a core. This one counts too, once it has run for a while."""
    return round(os.getloadavg()[0], 2)


def commit() -> str:
    """Of the repository, with "+" where tracked files differ from it; "" outside one."""
    root = Path(__file__).parent.parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=root,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""
    return found.stdout.strip()


def processor_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
