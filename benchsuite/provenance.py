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
from benchsuite.machine import processor


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


def provenance(device: str, folder: Path) -> dict[str, str]:
    """Versions, code, machine and time of this run, as text.

    Args:
        device: of the bank, which another machine may have made; the machine named is this one.
        folder: the clone.
    """
    return {
        "benchsuite": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": device,
        "machine": processor(device),
        "threads": str(torch.get_num_threads()),
        "code": code_digest(),
        "git": git_state(folder),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
