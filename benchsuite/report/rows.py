"""Dataclasses as JSON objects and back, every field checked against its type."""

import math
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_origin

import numpy as np


def to_row(where: str, value: Any) -> Any:
    """`value` as JSON's own types: the one place where NumPy scalars become Python numbers.

    An end of an `interval` that is unbounded becomes null. ValueError, which begins with `where`,
    for what JSON cannot hold.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: [None if math.isinf(end) else float(end) for end in item]
            if field.name == "interval"
            else to_row(f"{where}: {field.name}", item)
            for field in fields(value)
            for item in [getattr(value, field.name)]
        }
    if isinstance(value, dict):
        return {str(key): to_row(f"{where}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_row(where, item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}; a result holds finite numbers only")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"{where} is a {type(value).__name__}; a result holds text, numbers, lists and dicts only"
    )


def from_row(cls: type, row: Any) -> Any:
    """The dataclass `cls` of a JSON object; ValueError for fields of other names or types.

    A field with a default may be missing: what was written before there was such a field is read.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{row!r} where a {cls.__name__.lower()} was expected")
    names = [field.name for field in fields(cls)]
    needed = [field.name for field in fields(cls) if field.default is MISSING]
    for wrong, said in (
        ([name for name in needed if name not in row], "misses field"),
        ([name for name in row if name not in names], "has an unknown field"),
    ):
        if wrong:
            raise ValueError(f"the {cls.__name__.lower()} {said} {wrong[0]!r}")
    return cls(
        **{
            field.name: _value(field.name, field.type, row[field.name])
            for field in fields(cls)
            if field.name in row
        }
    )


def _value(name: str, kind: Any, value: Any) -> Any:
    if kind == tuple[float, float] and isinstance(value, list) and len(value) == 2:
        low, high = value
        return (
            -math.inf if low is None else _value(name, float, low),
            math.inf if high is None else _value(name, float, high),
        )
    if get_origin(kind) is tuple and kind.__args__[1:] == (...,) and isinstance(value, list):
        item = kind.__args__[0]
        if isinstance(item, type) and is_dataclass(item):
            return tuple(from_row(item, each) for each in value)
        return tuple(_value(name, item, each) for each in value)
    if kind == dict[str, Any] and isinstance(value, dict):
        return value
    if kind in (int | None, float | None) and value is None:
        return None
    if kind in (float, float | None) and type(value) in (int, float):
        return float(value)
    if kind in (int, int | None) and type(value) is int:
        return value
    if kind in (str, bool) and type(value) is kind:
        return value
    raise ValueError(f"field {name!r} is {value!r}, expected {getattr(kind, '__name__', kind)}")
