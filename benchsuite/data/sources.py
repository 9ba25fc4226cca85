"""The published data sets, read from where a machine has them."""

import importlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.dataset import Dataset

DATA_VARIABLE = "BENCHSUITE_DATA"

_HELD_OUT_DIGITS = 297
_DIGITS_SPLIT_KEY = 0
_VALIDATION_DIGITS = 300
_VALIDATION_KEY = 1


class _Source(NamedTuple):
    stem: str  # of the .npz files
    torchvision: str  # name of the class in torchvision.datasets


_SOURCES = {
    "mnist": _Source("mnist", "MNIST"),
    "fashion-mnist": _Source("fashion", "FashionMNIST"),
    "svhn": _Source("svhn", "SVHN"),
    "cifar10": _Source("cifar10", "CIFAR10"),
    "cifar100": _Source("cifar100", "CIFAR100"),
    "usps": _Source("usps", "USPS"),
}


class DataUnavailable(RuntimeError):  # noqa: N818 - an answer callers expect, not a defect
    """A data set is missing, damaged or ambiguous on this machine."""


def digits() -> tuple[Dataset, Dataset]:
    """Return scikit-learn's handwritten digits as (pool of 1,500, held out 297).

    Images are float32 [n, 1, 8, 8], the 17 grey levels scaled to [0, 1]. The split is stratified
    and fixed, see `hold_out`. Both halves keep scikit-learn's order.

    Source: the test part of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits,
    UCI Machine Learning Repository (1998).
    """
    from sklearn.datasets import load_digits  # a second to import: only for who asks

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    everything = Dataset(images, labels, name="digits")
    return hold_out(everything, _HELD_OUT_DIGITS, _DIGITS_SPLIT_KEY)


def enlarged_digits(size: int = 28) -> tuple[Dataset, Dataset, Dataset]:
    """Return scikit-learn's digits, enlarged, as (pool of 1,200, validation 300, held out 297).

    Bilinearly between the centres of the pixels, as torch does without ``align_corners``; by 28 as
    large as MNIST. Images are float32 [n, 1, size, size] from 0 to 1. Held out are the images that
    `digits` holds out; the validation set is a fixed and stratified part of the other 1,500.

    Raises:
        ValueError: ``size`` below 8, the size of the digits.
    """
    pool, held_out = digits()
    least = pool.images.shape[-1]
    if size < least:
        raise ValueError(f"size is {size}, expected {least} or more: the digits are not shrunk")
    rest, validation = hold_out(pool, _VALIDATION_DIGITS, _VALIDATION_KEY)
    pool, validation, held_out = (_enlarged(part, size) for part in (rest, validation, held_out))
    return pool, validation, held_out


def load(name: str) -> tuple[Dataset, Dataset]:
    """Return a published image data set as (train, test), uint8 images in the files' order.

    ``name`` is mnist, fashion-mnist, svhn, cifar10, cifar100 or usps. The folder is
    ``$BENCHSUITE_DATA``, or ``~/.cache/benchsuite/data`` where that is not set. In it are looked
    for, in this order: the files ``<stem>_train*.npz`` and ``<stem>_test*.npz`` with uint8
    ``images`` and integer ``labels`` (the stem is the name, "fashion" for fashion-mnist), then
    torchvision's own files; else torchvision downloads into it. An ``.npz`` file may hold a
    subset of the official data: ``len`` tells.

    Raises:
        ValueError: another name.
        DataUnavailable: missing and not to be had, one ``.npz`` file without the other, two for
            one split, or a file that is damaged.
    """
    if name not in _SOURCES:
        raise ValueError(
            f"name is {name!r}, expected one of {', '.join(_SOURCES)}: correct it, or build a"
            " Dataset from your own arrays"
        )
    folder = _data_folder()
    files = _npz_files(name, folder)
    if files:
        train, test = files
        return _read_npz(name, train), _read_npz(name, test)
    return _from_torchvision(name, folder)


def hold_out(data: Dataset, size: int, key: int) -> tuple[Dataset, Dataset]:
    """Return (the rest, ``size`` examples), stratified and fixed, both in the order of the data.

    Each class gives its share (largest remainders), those of its examples with the smallest raw
    draws of a Philox counter with this key. Raw draws, unlike NumPy's shuffles, never change
    between versions.

    Raises:
        ValueError: ``size`` below 1, or not below the number of examples; a single class in either.
    """
    if not 1 <= size < len(data):
        raise ValueError(
            f"size is {size}, expected from 1 to {len(data) - 1} of the {len(data)} examples to"
            " hold out: ask for fewer or give more data"
        )
    held_out = _stratified(data.labels, size, key)
    return data.subset(~held_out), data.subset(held_out)


def _enlarged(data: Dataset, size: int) -> Dataset:
    """Float images [n, channels, side, side] at another size; sums in double, in a fixed order."""
    images = data.images.astype(np.float64)
    side = images.shape[-1]
    centres = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    before = np.floor(centres).astype(int)
    after = np.minimum(before + 1, side - 1)
    part = centres - before
    for _ in range(2):  # the last axis each time: width, then height
        images = images[..., before] * (1 - part) + images[..., after] * part
        images = images.swapaxes(-1, -2)
    return Dataset(images.astype(np.float32), data.labels, data.groups, data.name)


def _stratified(labels: NDArray[np.int64], size: int, key: int) -> NDArray[np.bool_]:
    """Return bool [n], True for ``size`` examples drawn class by class in proportion."""
    counts = np.bincount(labels)
    quota, remainder = np.divmod(size * counts, len(labels))
    largest_first = np.argsort(-remainder, kind="stable")
    quota[largest_first[: size - quota.sum()]] += 1
    draws = np.random.Philox(key=key).random_raw(len(labels))
    chosen = np.zeros(len(labels), np.bool_)
    for label, share in enumerate(quota):
        of_class = np.flatnonzero(labels == label)
        chosen[of_class[np.argsort(draws[of_class], kind="stable")[:share]]] = True
    return chosen


def _data_folder() -> Path:
    given = os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "benchsuite" / "data"


def _npz_files(name: str, folder: Path) -> tuple[Path, Path] | None:
    """Return the train and the test file, or None where there is neither."""
    stem = _SOURCES[name].stem
    found: list[Path] = []
    for split in ("train", "test"):
        matches = sorted(folder.glob(f"{stem}_{split}*.npz"))
        if len(matches) > 1:
            raise DataUnavailable(
                f"{folder} holds {len(matches)} files for the {split} split of {name},"
                f" {' and '.join(m.name for m in matches)}, expected one: move the others away"
            )
        found += matches
    if not found:
        return None
    if len(found) == 1:
        raise DataUnavailable(
            f"{folder} holds {found[0].name} alone, expected both {stem}_train*.npz and"
            f" {stem}_test*.npz for {name}: add the other file or move this one away"
        )
    return found[0], found[1]


def _read_npz(name: str, path: Path) -> Dataset:
    try:
        # Opened here, because np.load leaves its own handle open where the archive is cut short.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
        return Dataset(images, labels, name=name)
    except Exception as error:  # zipfile, zlib and NumPy each fail in their own ways
        raise DataUnavailable(
            f"{path} is not a complete .npz file with uint8 `images` and integer `labels`"
            f" ({_said(error)}): copy it again or remove it"
        ) from None


def _from_torchvision(name: str, folder: Path) -> tuple[Dataset, Dataset]:
    with warnings.catch_warnings():
        # torchvision warns of image codecs that it lacks, NumPy of the pickles CIFAR comes in:
        # neither is about the data, and under pytest either could become an error.
        warnings.simplefilter("ignore")
        try:
            datasets = importlib.import_module("torchvision.datasets")
        except Exception as error:  # a wheel built for another torch raises what its library does
            reason = f"torchvision does not import here: {_said(error)}"
            raise _missing(name, folder, reason) from None
        reader = getattr(datasets, _SOURCES[name].torchvision)
        try:
            return _read_torchvision(name, reader, folder, download=False)
        except Exception as error:
            if not _is_absence(error):
                raise DataUnavailable(
                    f"torchvision cannot read the {name} files in {folder} ({_said(error)}): remove"
                    " them, so that they are downloaded again, or copy them again"
                ) from None
        try:
            return _download(name, reader, folder)
        except Exception as error:  # no network, no space, no permission, a wrong checksum
            reason = f"the download failed: {_said(error)}"
            raise _missing(name, folder, reason) from None


def _download(name: str, reader: Any, folder: Path) -> tuple[Dataset, Dataset]:
    """Download beside the data and move what is complete, so that no partial file is left."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as staging:
        both = _read_torchvision(name, reader, Path(staging), download=True)
        for file in [path for path in Path(staging).rglob("*") if path.is_file()]:
            target = folder / file.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    return both


def _read_torchvision(
    name: str, reader: Any, root: Path, download: bool
) -> tuple[Dataset, Dataset]:
    def split(train: bool) -> Dataset:
        if name == "svhn":  # the only one with `split`, `labels` and channels first
            part = reader(str(root), split="train" if train else "test", download=download)
            return Dataset(part.data.transpose(0, 2, 3, 1), np.asarray(part.labels), name=name)
        part = reader(str(root), train=train, download=download)
        return Dataset(np.asarray(part.data), np.asarray(part.targets), name=name)

    return split(train=True), split(train=False)


def _is_absence(error: Exception) -> bool:
    """Tell torchvision's "not there, or not what its checksum says" from files it cannot read."""
    return isinstance(error, FileNotFoundError) or "download=True" in str(error)


def _missing(name: str, folder: Path, reason: str) -> DataUnavailable:
    stem, torchvision = _SOURCES[name]
    return DataUnavailable(
        f"the data set {name} is missing or incomplete in {folder} and {reason}; supply it in one"
        f" of two ways: put {stem}_train*.npz and {stem}_test*.npz (uint8 `images`, integer"
        f" `labels`) into a folder and set {DATA_VARIABLE} to it, or set {DATA_VARIABLE} to a"
        f" folder that torchvision.datasets.{torchvision}(folder, download=True) filled on a"
        " machine with a network"
    )


def _said(error: Exception) -> str:
    """Return an exception's kind and message on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
