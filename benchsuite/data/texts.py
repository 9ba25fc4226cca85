"""Text that every machine with Python has: the docstrings of its standard library."""

import ast
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchsuite.data.dataset import Dataset
from benchsuite.data.sources import DataUnavailable, hold_out

MODULES = (
    "_pydecimal",
    "asyncio",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
)
"""The classes, in their order: those with the most docstrings in every ordinary installation."""

FEATURES = 512

_PER_CLASS, _HELD_OUT = 80, 200  # texts of a class; of all classes, for tests
_SPLIT_KEY = 4
_LEAST_WORDS = 6
_NAMES = re.compile("|".join(module.removeprefix("_py") for module in MODULES))
_WORD = re.compile(r"[^\W\d_]{2,}")  # letters alone: asyncio.run_forever() is asyncio, run, forever


def docstrings() -> tuple[Dataset, Dataset]:
    """Return docstrings of the standard library as (pool of 600, held out 200), module as class.

    From each of `MODULES` come 80 docstrings of its modules, classes and functions, evenly over all
    that have 6 words or more, in the order of their qualified names; the same words count once.
    The files are read, not imported. Words are letters in lower case, without any that holds one
    of the modules' names, so that no text says its label. They are counted in 512 hashed columns,
    weighted by the inverse document frequency in the pool, and scaled to unit norm: float32
    [n, 512]. The split is stratified and fixed, see `hold_out`.

    The texts are those of the running Python: another version has some others, and with them
    another digest.

    Raises:
        DataUnavailable: a standard library without source files, or with fewer docstrings.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    texts: list[str] = []
    for module in MODULES:
        known = set(texts)
        found = [text for text in _texts(module) if text not in known]
        if len(found) < _PER_CLASS:
            raise DataUnavailable(
                f"the standard library's {module} in {_library()} has {len(found)} docstrings of "
                f"{_LEAST_WORDS} words or more, expected {_PER_CLASS}: install Python with its "
                "source files, or another version of it"
            )
        evenly = np.linspace(0, len(found) - 1, _PER_CLASS).astype(int)
        texts += [found[place] for place in evenly]
    counter = HashingVectorizer(n_features=FEATURES, alternate_sign=False, norm=None)
    counts = counter.transform(texts).toarray().astype(np.float32)
    labels = np.repeat(np.arange(len(MODULES)), _PER_CLASS)
    parts = hold_out(Dataset(counts, labels, name="docstrings"), _HELD_OUT, _SPLIT_KEY)
    weights = TfidfTransformer().fit(parts[0].images)

    def weighted(data: Dataset) -> Dataset:
        images = weights.transform(data.images.astype(np.float64)).toarray().astype(np.float32)
        return Dataset(images, data.labels, name=data.name)

    return weighted(parts[0]), weighted(parts[1])


def _texts(module: str) -> list[str]:
    """The words of a module's docstrings, each text once, in the order of their names."""
    texts: dict[str, None] = {}
    for _, docstring in sorted(_docstrings(module)):
        words = [word for word in _WORD.findall(docstring.lower()) if not _NAMES.search(word)]
        if len(words) >= _LEAST_WORDS:
            texts[" ".join(words)] = None
    return list(texts)


def _docstrings(module: str) -> Iterator[tuple[str, str]]:
    """Qualified names and docstrings of all that a module or package defines."""
    library = _library()
    root = library / module
    files = root.rglob("*.py") if root.is_dir() else library.glob(f"{module}.py")
    for file in files:
        path = file.relative_to(library).with_suffix("")
        if not {"test", "tests"} & set(path.parts):
            yield from _within(".".join(path.parts), ast.parse(file.read_bytes()))


def _within(name: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node)
        if docstring:
            yield name, docstring
    for child in ast.iter_child_nodes(node):
        below = getattr(child, "name", None)
        yield from _within(f"{name}.{below}" if isinstance(below, str) else name, child)


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))
