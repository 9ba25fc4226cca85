"""Files of outputs that any framework can write: .npz arrays, or .csv and .parquet tables.

An .npz holds one of the arrays `logits`, `probabilities`, `probability` and `confidence`, with
`labels`, `membership` and `ids`. A table holds one row per model and example: one of the columns
`logit_0` to `logit_{k-1}`, `probability_0` to `probability_{k-1}`, `probability` and `confidence`,
with `model`, `example`, `label` and `member`. Other arrays and columns are left alone.
"""

import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchsuite.auditing.columns import Names, labels_of, members_of, names_of, numbers_of
from benchsuite.auditing.outputs import KINDS, STEMS, Source
from benchsuite.stats.validation import Bools

_ARRAYS = {"labels": "labels", "member": "membership", "ids": "ids"}
_COLUMNS = {"labels": "label", "member": "member", "ids": "example", "models": "model"}
_READERS: dict[str, Callable[[str, Any], Any]] = {
    "labels": labels_of,
    "member": members_of,
    "ids": names_of,
}
_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>"]
_SHOWN = 12
_SUFFIXES = (".npz", ".csv", ".parquet")


@dataclass(frozen=True)
class Answers:
    """What a file holds; absent where it does not.

    Attributes:
        source: the file.
        kind: one of `KINDS`.
        values: as stored in an .npz; [rows, classes] or [rows] of a table.
        labels: int; [examples] of an .npz, [rows] of a table.
        member: bool; as stored in an .npz, [rows] of a table.
        ids: of examples.
        models: of models, of a table only.
    """

    source: Source
    kind: str
    values: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    member: Bools | None = None
    ids: Names | None = None
    models: Names | None = None


def read_answers(path: str | Path, *, whole: bool) -> Answers:
    """Read a file of outputs.

    Args:
        path: .npz, .csv or .parquet.
        whole: of many models: everything but an .npz's `ids` must be there. Otherwise only the
            outputs must.

    Raises:
        ValueError: no such file, another suffix, a file that cannot be read, arrays or columns
            that are missing, outputs of two kinds, labels, members or ids that are none.
    """
    found = _existing(path)
    if found.suffix.lower() == ".npz":
        return _of_arrays(found, ["labels", "membership"] if whole else [])
    return _of_table(found, ["model", "example", "label", "member"] if whole else [])


def _existing(path: str | Path) -> Path:
    found = Path(path)
    if not found.is_file():
        raise ValueError(f"{found} is no file that exists, expected outputs of models: check path")
    if found.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"{found} ends in {found.suffix!r}, expected {', '.join(_SUFFIXES)}: write it "
            "as one of these"
        )
    return found


def _of_arrays(path: Path, needed: list[str]) -> Answers:
    source = Source(str(path), "arrays")
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise zipfile.BadZipFile("one array without a name")
            names = list(stored.files)
            kind = _kind(source, names, [each for each in KINDS if each in names], needed)
            used = [kind, *(each for each in _ARRAYS.values() if each in names)]
            arrays = {each: stored[each] for each in used}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no readable .npz ({error}): write it with np.savez") from error
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise ValueError(
            f"{path} holds an array of Python objects, or is no .npz at all, expected arrays of "
            "numbers, bools and text: write them with np.savez and a plain dtype"
        ) from error
    parts: dict[str, Any] = {}
    for part, name in _ARRAYS.items():
        if name not in arrays:
            continue
        where, array = f"{path}, array {name}", arrays[name]
        if part != "member" and array.ndim != 1:
            raise ValueError(
                f"{where}: shape {list(array.shape)}, expected one axis [examples]: give one value "
                "for each example"
            )
        parts[part] = _READERS[part](where, pd.Series(array.ravel()))
        if part == "member":
            parts[part] = parts[part].reshape(array.shape)
    return Answers(source, kind, arrays[kind], **parts)


def _of_table(path: Path, needed: list[str]) -> Answers:
    source = Source(str(path), "columns")
    frame = _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
    names = [str(each) for each in frame.columns]
    of_class = {kind: _classes(path, names, stem) for kind, stem in STEMS.items()}
    there = [kind for kind in KINDS if (of_class[kind] if kind in STEMS else kind in names)]
    kind = _kind(source, names, there, needed)
    if frame.empty:
        raise ValueError(f"{path} has no rows, expected one for each model and example: fill it")
    columns = of_class.get(kind) or [kind]
    numbers = [numbers_of(f"{path}, column {each}", frame[each]) for each in columns]
    values = np.stack(numbers, axis=-1) if kind in STEMS else numbers[0]
    parts: dict[str, Any] = {}
    for part, name in _COLUMNS.items():
        if name in names:
            where = f"{path}, column {name}"
            if part in ("ids", "models"):
                text = path.suffix.lower() == ".csv"
                parts[part] = names_of(where, frame[name], text=text)
            else:
                parts[part] = _READERS[part](where, frame[name])
    return Answers(source, kind, values, **parts)


def _csv(path: Path) -> pd.DataFrame:
    # Ids stay text: "007" is not 7, and an example may be called NA.
    try:
        first = pd.read_csv(path, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
        header = [str(each) for each in first.iloc[0]]
        twice = [each for each, count in Counter(header).items() if count > 1]
        if twice:
            raise ValueError(f"column {twice[0]} occurs twice")
        others = {each: _MISSING for each in header if each not in ("model", "example")}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            return pd.read_csv(
                path,
                dtype={"model": str, "example": str},
                na_values=others,
                keep_default_na=False,
                index_col=False,
                low_memory=False,
                encoding="utf-8-sig",
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"{path} is no table ({why}): write one header, then one row per model and example, "
            "separated by commas, in UTF-8"
        ) from error


def _parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
        named = [each for each in frame.index.names if each is not None]
        return frame.reset_index(level=named) if named else frame
    except ImportError as error:
        raise ValueError(
            f"{path} needs pyarrow, which is not installed: pip install 'benchsuite[parquet]', or "
            "write a .csv or .npz"
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is no readable .parquet ({' '.join(str(error).split())}): write it again"
        ) from error


def _classes(path: Path, names: list[str], stem: str) -> list[str]:
    """Columns of one kind in the order of classes, none missing."""
    found = {int(each[len(stem) :]) for each in names if re.fullmatch(rf"{stem}(0|[1-9]\d*)", each)}
    absent = min(set(range(len(found))) - found, default=None)
    if absent is not None:
        raise ValueError(
            f"{path} has columns up to {stem}{max(found)} but no {stem}{absent}, expected one for "
            "each class from 0 on: write all of them"
        )
    return [f"{stem}{each}" for each in range(len(found))]


def _kind(source: Source, names: list[str], there: list[str], needed: list[str]) -> str:
    """The one kind of output that is there, where everything needed is."""
    noun = source.form[:-1]
    listed = ", ".join(names[:_SHOWN]) or "nothing"
    if len(names) > _SHOWN:
        listed += f" and {len(names) - _SHOWN} more"
    absent = [each for each in needed if each not in names]
    if absent:
        raise ValueError(
            f"{source.name} has no {noun} {_and(absent)}, expected {_and(needed)} and one kind of "
            f"output; it holds {listed}: rename or add what is missing"
        )
    if not there:
        kinds = ", ".join(f"{STEMS[k]}0.." if noun == "column" and k in STEMS else k for k in KINDS)
        raise ValueError(
            f"{source.name} has no outputs, expected one of {kinds}; it holds {listed}: rename or "
            "add them"
        )
    if len(there) > 1:
        raise ValueError(
            f"{source.name} holds {_and(there)} at once, expected one kind of output: keep "
            f"{there[0]} alone"
        )
    return there[0]


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
