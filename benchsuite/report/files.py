"""Files of the reports folder are written whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` through a temporary file beside it; OSError naming `--reports`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)
        raise unwritable(path.parent, error) from error


def unwritable(folder: Path, error: OSError) -> OSError:
    """What to raise where `folder` cannot be written."""
    return OSError(
        f"cannot write to {folder} ({error.strerror}); "
        "make room there, or name a folder that can be written with --reports"
    )
