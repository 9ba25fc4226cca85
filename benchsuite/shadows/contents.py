"""What a bank's folder holds, in words: columns, models and bytes, gaps, and damaged files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchsuite.shadows.shards import BankError, Header, check_shard

_SHARD = re.compile(r"(?P<column>.+)\.(?P<first>\d{6,})-(?P<last>\d{6,})\.safetensors")


class _Shard(NamedTuple):
    first: int
    last: int
    bytes: int


def contents(folder: Path, header: Callable[[str, int], Header]) -> str:
    """Describe a bank by its files: one line for the bank, one a column, one for each bad file.

    Headers are read, values are not.

    Args:
        folder: of the bank.
        header: expected of a shard, by its column and first model.
    """
    columns: dict[str, list[_Shard]] = {}
    remarks = []
    for path in sorted(folder.iterdir()):
        size = path.stat().st_size
        name = _SHARD.fullmatch(path.name)
        if path.name.endswith(".tmp"):
            remarks.append(f"half-written, or being written: {path.name} ({_size(size)})")
        elif name is not None:
            first, last = int(name["first"]), int(name["last"])
            columns.setdefault(name["column"], []).append(_Shard(first, last, size))
            try:
                check_shard(path, header(name["column"], first))
            except BankError as error:
                remarks.append(str(error))
    every = {(each.first, each.last) for shards in columns.values() for each in shards}
    total = sum(each.bytes for shards in columns.values() for each in shards)
    lines = [f"bank {folder}: {_models(every)}, {_size(total)}"]
    for column, shards in columns.items():
        held = {(each.first, each.last) for each in shards}
        line = f"  {column}: {_models(held)}, {_size(sum(each.bytes for each in shards))}"
        lines.append(line + _lacking(every - held))
    return "\n".join([*lines, *(f"  {remark}" for remark in remarks)])


def _models(ranges: set[tuple[int, int]]) -> str:
    return f"{sum(last - first for first, last in ranges):,} models"


def _lacking(ranges: set[tuple[int, int]]) -> str:
    """The ranges as few, neighbours joined."""
    joined: list[list[int]] = []
    for first, last in sorted(ranges):
        if joined and joined[-1][1] == first:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    said = ", ".join(f"{first} to {last - 1}" for first, last in joined)
    return f"; lacks models {said}" if said else ""


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} GB"
