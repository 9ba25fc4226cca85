"""One file of a bank: a column of a fixed range of models, written whole or not at all.

A shard is a safetensors file whose header names the bank's key, the column, the range of model ids
and a digest of the values; a file that does not match what it is asked for is refused by name.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

Arrays = dict[str, NDArray[Any]]


class BankError(RuntimeError):
    """A bank's files are not what they should be, or cannot be written."""


def shard_path(folder: Path, column: str, first: int, last: int) -> Path:
    """Where the column of models first to last - 1 lies."""
    return folder / f"{column}.{first:06d}-{last:06d}.safetensors"


def write_shard(path: Path, arrays: Arrays, **header: str) -> None:
    """Write arrays to `path` at once: temporary file, fsync, rename; a failure leaves nothing.

    Raises:
        BankError: the folder cannot be written or the disk is full.
    """
    contents = save(arrays, metadata={**header, "digest": _digest(arrays)})
    write_atomically(path, contents)


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a bank's file whole or not at all, and durably.

    Raises:
        BankError: the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise BankError(
            f"bank folder {path.parent}: cannot write {path.name}"
            + (" because the disk is full; free space" if full else f" ({error.strerror})")
            + ", or choose another folder with --banks, and run the same command again: finished "
            "shards are kept"
        ) from error


def read_shard(path: Path, **expected: str) -> Arrays:
    """The arrays of a shard, after checking its header and digest.

    Raises:
        BankError: the file is truncated, corrupt, or belongs to another bank, column or range.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise BankError(
            f"shard {path} is truncated or corrupt ({error}): delete it and run again, which "
            "fills it anew"
        ) from error
    for name, value in expected.items():
        if header.get(name) != value:
            raise BankError(
                f"shard {path} is foreign: its {name} is {header.get(name)!r}, this bank expects "
                f"{value!r}; delete it and run again"
            )
    if header.get("digest") != _digest(arrays):
        raise BankError(
            f"shard {path} is corrupt: its values do not match their digest; delete it and run "
            "again, which fills it anew"
        )
    return arrays


def _digest(arrays: Arrays) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


@contextlib.contextmanager
def shard_lock(folder: Path, first: int, *, wait: bool) -> Iterator[bool]:
    """Hold the right to fill the shard that starts at model `first`; yields whether it is held.

    The lock is the operating system's, so it goes when its process dies, however it dies.
    """
    import fcntl

    path = folder / f".lock.{first:06d}"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
