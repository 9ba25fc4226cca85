"""One file of a bank: a column of a fixed range of models, written whole or not at all.

A shard is a safetensors file whose header names the bank's key and execution, the column, the first
model id, and a digest of all of it and of the values; a file that is not what it is asked for is
refused by name.
"""

import contextlib
import errno
import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

Arrays = dict[str, NDArray[Any]]
Header = dict[str, str]

_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "C64": np.complex64,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_NAMES = {np.dtype(each): name for name, each in _TYPES.items()}


class BankError(RuntimeError):
    """A bank's files are not what they should be, or cannot be written."""


def shard_path(folder: Path, column: str, first: int, last: int) -> Path:
    """Where the column of models first to last - 1 lies."""
    return folder / f"{column}.{first:06d}-{last:06d}.safetensors"


def write_shard(path: Path, arrays: Arrays, header: Header) -> None:
    """Write arrays to `path` at once: temporary file, fsync, rename; a failure leaves nothing.

    The values are written from where they lie, so that a large shard is in memory but once.

    Raises:
        BankError: the folder cannot be written or the disk is full.
    """
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    whole = {**header, "digest": _digest(dense, header)}
    write_atomically(path, *_safetensors(dense, json.dumps(whole, sort_keys=True)))


def write_atomically(path: Path, *contents: bytes | memoryview) -> None:
    """Write a bank's file whole or not at all, and durably, by whoever holds its lock.

    Raises:
        BankError: the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a process that was killed
            left.unlink()
        with temporary.open("wb") as file:
            for part in contents:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names of a folder's finished files survive the machine, as fsync does their values.

    Raises:
        BankError: the folder cannot be written.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _cannot_write(folder / "its list of files", error) from error


def remove_shards(folder: Path, first: int, last: int) -> None:
    """Remove every column of models first to last - 1, their membership first of all.

    Half-written files that a process left when it died go too.

    Raises:
        BankError: the folder cannot be written.
    """
    membership = shard_path(folder, "membership", first, last)
    for path in (membership, *folder.glob(shard_path(folder, "*", first, last).name + "*")):
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
    open_shard(path, expected, check_values=False)


def read_shard(path: Path, expected: Header) -> Arrays:
    """The arrays of a shard, after checking its header and digest.

    Raises:
        BankError: the file is truncated, corrupt, or belongs to another bank, column or range.
    """
    arrays = open_shard(path, expected, check_values=True)
    return {name: array.copy() for name, array in arrays.items()}


def open_shard(path: Path, expected: Header, *, check_values: bool) -> Arrays:
    """The arrays of a shard where they lie in the file, read-only; what is not used is not read.

    Raises:
        BankError: the file is truncated, or belongs to another bank, column or range; or, where
            values are checked, which reads them all, it is corrupt.
    """
    try:
        with safe_open(path, framework="numpy") as file:  # knows a file that is not whole
            header = dict(json.loads((file.metadata() or {}).get("shard", "{}")))
        arrays = _mapped(path)
    except (SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
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
    if check_values and header.pop("digest", None) != _digest(arrays, header):
        raise BankError(
            f"shard {path} is corrupt: its values do not match their digest; delete it and run "
            "again, which fills it anew"
        )
    return arrays


def _safetensors(arrays: Arrays, header: str) -> list[bytes | memoryview]:
    """A safetensors file in parts: its length, what it says of the values, and the values.

    Its own library copies the values, and in some versions takes those of a strided array for a
    dense one's.
    """
    entries: dict[str, Any] = {"__metadata__": {"shard": header}}
    end = 0
    values: list[memoryview] = []
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):  # all aligned
        array = arrays[name]
        begin, end = end, end + array.nbytes
        kind = _NAMES[array.dtype]
        entries[name] = {"dtype": kind, "shape": array.shape, "data_offsets": (begin, end)}
        values.append(array.data)
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *values]


def _mapped(path: Path) -> Arrays:
    """The arrays of a safetensors file as views of it; its library copies what it reads."""
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    values = 8 + int.from_bytes(memory[:8], "little")
    entries = json.loads(memory[8:values])
    entries.pop("__metadata__", None)
    return {
        name: np.ndarray(
            entry["shape"], _TYPES[entry["dtype"]], memory, values + entry["data_offsets"][0]
        )
        for name, entry in entries.items()
    }


def _digest(arrays: Arrays, header: Header) -> str:
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
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
