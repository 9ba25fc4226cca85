"""One file of a bank: a column of a fixed range of models, written whole or not at all.

A shard is a safetensors file whose header names the bank's key and execution, the column, the first
model id, and a digest of all of it and of the values; a file that is not what it is asked for is
refused by name.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

Arrays = dict[str, NDArray[Any]]
Header = dict[str, str]


class BankError(RuntimeError):
    """A bank's files are not what they should be, or cannot be written."""


def shard_path(folder: Path, column: str, first: int, last: int) -> Path:
    """Where the column of models first to last - 1 lies."""
    return folder / f"{column}.{first:06d}-{last:06d}.safetensors"


def write_shard(path: Path, arrays: Arrays, header: Header) -> None:
    """Write arrays to `path` at once: temporary file, fsync, rename; a failure leaves nothing.

    Raises:
        BankError: the folder cannot be written or the disk is full.
    """
    whole = {**header, "digest": _digest(arrays, header)}
    # One entry, for safetensors writes several in an order that no two processes share.
    write_atomically(path, save(arrays, metadata={"shard": json.dumps(whole, sort_keys=True)}))


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a bank's file whole or not at all, and durably, by whoever holds its lock.

    Raises:
        BankError: the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a process that was killed
            left.unlink()
        with temporary.open("wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def remove_shards(folder: Path, first: int, last: int) -> None:
    """Remove every column of models first to last - 1, their membership first of all.

    Raises:
        BankError: the folder cannot be written.
    """
    membership = shard_path(folder, "membership", first, last)
    for path in (membership, *folder.glob(shard_path(folder, "*", first, last).name)):
        remove_shard(path)


def remove_shard(path: Path) -> None:
    """Remove one file of a bank, if it is there.

    Raises:
        BankError: the folder cannot be written.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> BankError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return BankError(
        f"bank folder {path.parent}: cannot write {path.name}"
        + (" because the disk is full: free space" if full else f" ({error.strerror}): allow it")
        + ", or choose another folder with --banks, and run the same command again; finished "
        "shards are kept"
    )


def check_shard(path: Path, expected: Header) -> None:
    """Check a shard's header, but not its values.

    Raises:
        BankError: the file is truncated, or belongs to another bank, column or range.
    """
    _open(path, expected, read=False)


def read_shard(path: Path, expected: Header) -> Arrays:
    """The arrays of a shard, after checking its header and digest.

    Raises:
        BankError: the file is truncated, corrupt, or belongs to another bank, column or range.
    """
    header, arrays = _open(path, expected, read=True)
    if header.pop("digest", None) != _digest(arrays, header):
        raise BankError(
            f"shard {path} is corrupt: its values do not match their digest; delete it and run "
            "again, which fills it anew"
        )
    return arrays


def _open(path: Path, expected: Header, *, read: bool) -> tuple[Header, Arrays]:
    try:
        with safe_open(path, framework="numpy") as file:
            header = dict(json.loads((file.metadata() or {}).get("shard", "{}")))
            names = file.keys() if read else ()
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise BankError(
            f"shard {path} is truncated or corrupt ({error}): delete it and run again, which "
            "fills it anew"
        ) from error
    for name, value in expected.items():
        if header.get(name) != value:
            raise BankError(
                f"shard {path} is foreign: its {name} is {header.get(name)!r}, this bank expects "
                f"{value!r}; delete it and run again, which fills it anew"
            )
    return header, arrays


def _digest(arrays: Arrays, header: Header) -> str:
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


@contextlib.contextmanager
def lock(folder: Path, name: str, *, wait: bool) -> Iterator[bool]:
    """Hold the right to write the files of that name; yields whether it is held.

    The lock is the operating system's, so it goes when its process dies, however it dies.

    Raises:
        BankError: the folder cannot be written.
    """
    import fcntl

    path = folder / f".lock.{name}"
    try:
        file = path.open("w")
    except OSError as error:
        raise _cannot_write(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
