"""What a bank's folder holds, in words: columns, models and bytes, gaps, and damaged files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchsuite.shadows.shards import BankError, Header, check_shard

_SHARD = re.compile(r"(?P<column>.+)\.(?P<first>\d{6,})-(?P<last>\d{6,})\.safetensors")


class _Shard(NamedTuple):
    models: range
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
            columns.setdefault(name["column"], []).append(_Shard(range(first, last), size))
            try:
                check_shard(path, header(name["column"], first))
            except BankError as error:
                remarks.append(str(error))
    total = sum(each.bytes for shards in columns.values() for each in shards)
    held = {
        column: {m for each in shards for m in each.models} for column, shards in columns.items()
    }
    every = set(range(1 + max((max(models) for models in held.values()), default=-1)))
    lines = [f"bank {folder}: {len(held.get('membership', ())):,} models, {_size(total)}"]
    for column, shards in columns.items():
        size = sum(each.bytes for each in shards)
        line = f"  {column}: {len(held[column]):,} models, {_size(size)}"
        lines.append(line + _lacking(every - held[column]))
    return "\n".join([*lines, *(f"  {remark}" for remark in remarks)])


def _lacking(models: set[int]) -> str:
    """The models in as few ranges as there are."""
    lasts = [model for model in sorted(models) if model + 1 not in models]
    firsts = [model for model in sorted(models) if model - 1 not in models]
    said = ", ".join(f"{first} to {last}" for first, last in zip(firsts, lasts, strict=True))
    return f"; lacks models {said}" if said else ""


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} GB"
