"""The arrays that figures are drawn from, each file known by its digest."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.report.files import write_atomically
from benchsuite.report.schema import Artifact


def save_artifact(folder: Path | str, kind: str, stem: str, **arrays: Any) -> Artifact:
    """Write a figure's arrays to `artifacts/<stem>.<kind>.npz` in `folder`, whole or not at all."""
    packed: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in packed.items():
        if array.dtype == object:
            raise ValueError(f"{name} is an array of objects; an artifact holds numbers or text")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **packed)
    data = buffer.getvalue()
    path = f"artifacts/{stem}.{kind}.npz"
    write_atomically(Path(folder) / path, data)
    return Artifact(kind=kind, path=path, digest=hashlib.sha256(data).hexdigest())


def load_artifact(folder: Path | str, artifact: Artifact) -> dict[str, NDArray[Any]]:
    """The arrays of `artifact`; ValueError where its file is missing or is not what was saved."""
    path = Path(folder) / artifact.path
    if not path.is_file():
        raise ValueError(f"{artifact.path} is missing from the reports folder")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != artifact.digest:
        raise ValueError(f"{artifact.path} is not the file that this result was recorded with")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(f"{artifact.path} is not an .npz file") from error
