"""Where a result came from: code, versions, machine."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchsuite import __version__
from benchsuite.code_digest import code_digest


@cache
def git_state(folder: Path) -> str:
    """Commit of the clone in `folder`, with "-dirty" after it if files were changed, or "none"."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "none"
    return described.stdout.strip()


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def provenance(device: str, folder: Path) -> dict[str, str]:
    """Versions, code, machine and time of this run, as text.

    Args:
        device: of the bank, which another machine may have made; the machine named is this one.
        folder: the clone.
    """
    on_cuda = device.startswith("cuda") and torch.cuda.is_available()
    machine = torch.cuda.get_device_name(device) if on_cuda else _processor()
    return {
        "benchsuite": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": device,
        "machine": machine,
        "threads": str(torch.get_num_threads()),
        "code": code_digest(),
        "git": git_state(folder),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
