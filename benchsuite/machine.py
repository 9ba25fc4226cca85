"""What this machine is, as far as speed and the last bit of a result depend on it."""

import os
import platform
from functools import cache
from pathlib import Path

import numpy as np
import torch


@cache
def processor(device: str = "cpu") -> str:
    """Name of the device's processor."""
    if device.startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use, where the system tells; else all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def machine(device: str) -> dict[str, str]:
    """Processor, cores and versions, as text."""
    return {
        "processor": processor(device),
        "cores": str(cores()),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": str(torch.version.cuda) if device.startswith("cuda") else "",
    }
