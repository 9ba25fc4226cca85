"""Values of one column, checked: ids, numbers, labels, members."""

import re
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchsuite.stats.validation import Bools

_TRUTH = dict.fromkeys(("1", "1.0", "true"), True) | dict.fromkeys(("0", "0.0", "false"), False)


@dataclass(frozen=True)
class Names:
    """Ids of models or examples: distinct ones in order, and which of them each row has."""

    distinct: NDArray[Any]
    index: NDArray[np.intp]


def names_of(where: str, series: "pd.Series[Any]", *, text: bool = False) -> Names:
    """Return ids in order; where `text`, those that are all plain integers become integers."""
    codes, found = pd.factorize(series)
    distinct = np.asarray(found)
    if distinct.dtype.kind == "f" and np.array_equal(distinct, np.round(distinct)):
        distinct = distinct.astype(np.int64)
    elif distinct.dtype.kind in "OSU" and all(isinstance(each, str | bytes) for each in distinct):
        distinct = distinct.astype(str)
        if text and all(re.fullmatch(r"0|-?[1-9]\d{0,17}", each) for each in distinct):
            distinct = distinct.astype(np.int64)
    if (codes < 0).any() or (distinct.dtype.kind == "U" and "" in distinct):
        blank = codes < 0 if (codes < 0).any() else (distinct == "")[codes]
        raise _missing(where, blank)
    if distinct.dtype.kind not in "iuU":
        raise ValueError(
            f"{where}: ids such as {distinct.tolist()[0]!r}, expected integers or text: write them "
            "as one of these"
        )
    order = np.argsort(distinct)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Names(distinct[order], rank[codes])


def numbers_of(where: str, series: "pd.Series[Any]") -> NDArray[Any]:
    """Return numbers, none missing: float32 where they are that narrow, else float64."""
    numbers = pd.to_numeric(series, errors="coerce")
    strange = (numbers.isna() & series.notna()).to_numpy()
    if strange.any():
        raise ValueError(
            f"{where}: {series[strange].iloc[0]!r} in row {strange.argmax() + 1}, expected numbers "
            "alone: repair it where it is made"
        )
    if numbers.isna().any():
        raise _missing(where, numbers.isna().to_numpy())
    narrow = str(numbers.dtype).lower() in ("float32", "float16", "halffloat")
    return cast("NDArray[Any]", numbers.to_numpy(dtype=np.float32 if narrow else np.float64))


def labels_of(where: str, series: "pd.Series[Any]") -> NDArray[np.int64]:
    """Return class indices."""
    numbers = numbers_of(where, series)
    bad = ~np.isfinite(numbers) | (numbers != np.floor(numbers)) | (numbers < 0)
    if bad.any():
        raise ValueError(
            f"{where}: the value {numbers[bad][0]:g}, expected class indices from 0: number the "
            "classes as the outputs do"
        )
    return numbers.astype(np.int64)


def members_of(where: str, series: "pd.Series[Any]") -> Bools:
    """Return whether each is IN, from 0 and 1 or false and true."""
    codes, found = pd.factorize(series)
    if (codes < 0).any():
        raise _missing(where, codes < 0)
    truth = [_TRUTH.get(str(each).strip().lower()) for each in found]
    if None in truth:
        raise ValueError(
            f"{where}: the value {found[truth.index(None)]}, expected only 0 (OUT) and 1 (IN), or "
            "false and true: say for each model and example whether it was trained on"
        )
    return np.array(truth, dtype=np.bool_)[codes]


def _missing(where: str, missing: NDArray[np.bool_]) -> ValueError:
    return ValueError(
        f"{where}: {int(missing.sum())} missing values (first in row {int(missing.argmax()) + 1}), "
        "expected none: fill them in, or leave the example out of every model"
    )
