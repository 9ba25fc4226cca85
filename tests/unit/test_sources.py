import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from benchsuite.data import (
    Dataset,
    DataUnavailable,
    digits,
    enlarged_digits,
    hold_out,
    load,
    sources,
)

NAMES = ("mnist", "fashion-mnist", "svhn", "cifar10", "cifar100", "usps")
STEMS = dict(zip(NAMES, ("mnist", "fashion", "svhn", "cifar10", "cifar100", "usps"), strict=True))
CLASSES = dict(
    zip(NAMES, ("MNIST", "FashionMNIST", "SVHN", "CIFAR10", "CIFAR100", "USPS"), strict=True)
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHSUITE_DATA", str(tmp_path))
    return tmp_path


def split(train, shape=(8, 8)):
    """Images and labels as .npz files and torchvision hold them; train and test differ."""
    generator = np.random.default_rng(int(train))
    n = 20 if train else 10
    images = generator.integers(0, 256, (n, *shape), dtype=np.uint8)
    return images, (np.arange(n) % 10).astype(np.uint8)


def write_npz(folder, stem, shape=(8, 8)):
    for suffix, train in (("_train20.npz", True), ("_test10.npz", False)):
        images, labels = split(train, shape)
        np.savez_compressed(folder / (stem + suffix), images=images, labels=labels)


class TestDigits:
    def test_they_are_scikit_learn_s_images(self):
        from sklearn.datasets import load_digits

        bunch = load_digits()
        pool, held_out = digits()
        assert (len(pool), len(held_out)) == (1500, 297)
        assert (pool.name, held_out.name) == ("digits", "digits")
        assert pool.images.shape == (1500, 1, 8, 8)
        assert (pool.images.min(), pool.images.max()) == (0, 1)
        ours = np.concatenate([pool.images, held_out.images]).reshape(-1, 64) * 16
        rows = np.column_stack([ours, np.concatenate([pool.labels, held_out.labels])])
        theirs = np.column_stack([bunch.data, bunch.target])
        np.testing.assert_array_equal(rows[np.lexsort(rows.T)], theirs[np.lexsort(theirs.T)])

    def test_the_split_is_stratified(self):
        pool, held_out = digits()
        counts = np.bincount(held_out.labels)
        expected = 297 / 1797 * (counts + np.bincount(pool.labels))
        assert np.abs(counts - expected).max() < 1

    def test_the_split_is_not_the_first_or_last_of_each_class(self):
        from sklearn.datasets import load_digits

        first = load_digits().images[:300, None] / 16
        held_out = {image.tobytes() for image in digits()[1].images}
        among_first = sum(image.tobytes() in held_out for image in first.astype(np.float32))
        assert 25 <= among_first <= 75  # 49.6 expected, 6 the standard deviation

    def test_the_split_is_the_same_everywhere(self):
        pool, held_out = digits()
        assert pool.digest == "f9d1c14c563e0d73e678b37730613ac2111e7f633e1fd52c3a6d1b48255accfa"
        assert held_out.digest == "7d8861fa72b862ba9ba3cc8327708aad301a3918d3172fc001347a40682a3af3"


class TestEnlargedDigits:
    @pytest.mark.parametrize("size", [8, 9, 28, 32])
    def test_they_are_what_torch_makes_of_the_digits(self, size):
        import torch

        small, large = digits()[1], enlarged_digits(size)[2]
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(small.inputs()), size=size, mode="bilinear", align_corners=False
        )
        assert large.images.shape == (297, 1, size, size)
        assert large.images.dtype == np.float32
        np.testing.assert_allclose(large.images, expected.numpy(), atol=1e-6, rtol=0)
        np.testing.assert_array_equal(large.labels, small.labels)

    def test_the_pool_of_the_digits_is_split_and_stratified(self):
        pool, validation, held_out = enlarged_digits(8)
        assert (len(pool), len(validation), len(held_out)) == (1200, 300, 297)
        assert {part.name for part in (pool, validation, held_out)} == {"digits"}
        before, same_held_out = digits()
        assert held_out == same_held_out
        rows = np.concatenate([pool.images, validation.images]).reshape(1500, -1)
        rows = np.column_stack([rows, np.concatenate([pool.labels, validation.labels])])
        theirs = np.column_stack([before.images.reshape(1500, -1), before.labels])
        np.testing.assert_array_equal(rows[np.lexsort(rows.T)], theirs[np.lexsort(theirs.T)])
        assert np.abs(np.bincount(validation.labels) - np.bincount(before.labels) / 5).max() < 1

    def test_they_are_the_same_everywhere(self):
        digests = [part.digest[:16] for part in enlarged_digits()]
        assert digests == ["6e2fadc34b4bab56", "837dab2a1fd6a184", "c493f8f077bf6375"]

    def test_a_smaller_size_is_refused(self):
        with pytest.raises(ValueError, match="size is 7, expected 8 or more"):
            enlarged_digits(7)


class TestHoldOut:
    DATA = Dataset(
        np.arange(60, dtype=np.float32)[:, None], np.repeat([0, 1, 2], [10, 20, 30]), name="lab"
    )

    def test_parts_are_disjoint_in_order_and_stratified(self):
        rest, held_out = hold_out(self.DATA, 12, key=3)
        assert np.bincount(held_out.labels).tolist() == [2, 4, 6]
        for part in (rest, held_out):
            assert (np.diff(part.images[:, 0]) > 0).all()
            assert part.name == "lab"
        together = np.concatenate([rest.images, held_out.images])
        np.testing.assert_array_equal(np.sort(together, axis=0), self.DATA.images)

    def test_a_key_fixes_what_is_held_out(self):
        one, again, other = (hold_out(self.DATA, 12, key)[1] for key in (3, 3, 4))
        assert one == again
        assert one != other

    @pytest.mark.parametrize("size", [0, 60, 5000])
    def test_all_or_nothing_is_refused(self, size):
        with pytest.raises(ValueError, match=f"size is {size}, expected from 1 to 59 of the 60"):
            hold_out(self.DATA, size, key=0)


class TestNpz:
    @pytest.mark.parametrize("name", NAMES)
    def test_train_and_test_are_read(self, folder, name):
        write_npz(folder, STEMS[name])
        for data, train in zip(load(name), (True, False), strict=True):
            images, labels = split(train)
            np.testing.assert_array_equal(data.images, images)
            np.testing.assert_array_equal(data.labels, labels)
            assert data.name == name

    def test_cifar10_is_not_cifar100(self, folder):
        write_npz(folder, "cifar10", (4, 4, 3))
        write_npz(folder, "cifar100", (6, 6, 3))
        assert load("cifar10")[0].images.shape == (20, 4, 4, 3)
        assert load("cifar100")[0].images.shape == (20, 6, 6, 3)

    def test_they_come_before_torchvision(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchvision.datasets", None)  # importing it is an error
        write_npz(folder, "mnist")
        assert len(load("mnist")[0]) == 20

    def test_two_files_for_one_split_are_both_named(self, folder):
        write_npz(folder, "mnist")
        images, labels = split(True)
        np.savez(folder / "mnist_train5.npz", images=images, labels=labels)
        with pytest.raises(DataUnavailable, match=r"mnist_train20.npz and mnist_train5.npz"):
            load("mnist")

    @pytest.mark.parametrize("gone", ["mnist_train20.npz", "mnist_test10.npz"])
    def test_one_file_without_the_other_is_refused(self, folder, gone):
        write_npz(folder, "mnist")
        (folder / gone).unlink()
        left = "mnist_test10.npz" if "train" in gone else "mnist_train20.npz"
        with pytest.raises(DataUnavailable, match=f"holds {left} alone"):
            load("mnist")

    @pytest.mark.parametrize("keep", [0, 1, 100, -500, -50, -1])
    def test_a_truncated_file_is_named(self, folder, keep):
        write_npz(folder, "mnist")
        path = folder / "mnist_test10.npz"
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataUnavailable, match=r"mnist_test10.npz is not a complete") as caught:
            load("mnist")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"x": np.zeros(3)}, "images"),
            ({"images": split(True)[0]}, "labels"),
            ({"images": split(True)[0] / 255, "labels": split(True)[1]}, "dtype float64"),
            ({"images": split(True)[0], "labels": np.zeros(3, np.uint8)}, r"labels has shape \(3"),
            ({"images": np.array([None]), "labels": np.zeros(3, np.uint8)}, "pickle"),
        ],
    )
    def test_a_file_with_other_arrays_is_named(self, folder, arrays, message):
        write_npz(folder, "mnist")
        np.savez(folder / "mnist_train20.npz", **arrays)
        with pytest.raises(DataUnavailable, match=rf"mnist_train20.npz is not.*{message}"):
            load("mnist")


NOT_FOUND = "Dataset not found. You can use download=True to download it"


class FakeTorchvision:
    """torchvision.datasets with the interface of the real one and no network of its own.

    A data set is "there" when root/<class name>/data exists; downloading writes it, or writes
    half of it and raises ``download_fails``.
    """

    def __init__(self):
        self.calls = []
        self.download_fails = None
        self.reading_fails = None
        self.module = types.ModuleType("torchvision.datasets")
        for name in NAMES:
            setattr(self.module, CLASSES[name], self._reader(name))

    def _reader(self, name):
        def read(root, *, train=None, split=None, download=False):
            assert isinstance(root, str)
            assert (train is None) == (name == "svhn")
            if train is None:
                train = {"train": True, "test": False}[split]
            self.calls.append((root, train, download))
            there = Path(root, CLASSES[name], "data")
            if download:
                there.parent.mkdir(exist_ok=True)
                there.write_text("half")
                if self.download_fails is not None:
                    raise self.download_fails
                there.write_text("whole")
            if not there.exists():
                raise FileNotFoundError(there) if name == "usps" else RuntimeError(NOT_FOUND)
            if self.reading_fails is not None:
                raise self.reading_fails
            return self._part(name, train)

        return read

    @staticmethod
    def _part(name, train):
        images, labels = split(train, shape_of(name))
        if name == "svhn":
            return types.SimpleNamespace(data=images.transpose(0, 3, 1, 2), labels=labels)
        if name in ("mnist", "fashion-mnist"):
            import torch

            data, targets = torch.from_numpy(images), torch.from_numpy(labels).long()
            return types.SimpleNamespace(data=data, targets=targets)
        return types.SimpleNamespace(data=images, targets=labels.tolist())


def shape_of(name):
    return (8, 6, 3) if name in ("svhn", "cifar10", "cifar100") else (8, 6)


@pytest.fixture
def torchvision(monkeypatch):
    fake = FakeTorchvision()
    package = types.ModuleType("torchvision")
    package.datasets = fake.module
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", fake.module)
    return fake


def everything_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class TestTorchvision:
    @pytest.mark.parametrize("name", NAMES)
    def test_its_folders_are_read_in_place(self, folder, torchvision, name):
        (folder / CLASSES[name]).mkdir()
        (folder / CLASSES[name] / "data").write_text("whole")
        for data, train in zip(load(name), (True, False), strict=True):
            assert data == Dataset(*split(train, shape_of(name)))
            assert data.name == name
            assert data.images.dtype == np.uint8
        assert torchvision.calls == [(str(folder), True, False), (str(folder), False, False)]

    @pytest.mark.parametrize("name", NAMES)
    def test_else_it_downloads_into_the_folder(self, folder, torchvision, name):
        train, test = load(name)
        assert train == Dataset(*split(True, shape_of(name)))
        assert test == Dataset(*split(False, shape_of(name)))
        assert everything_under(folder) == [CLASSES[name], f"{CLASSES[name]}/data"]
        assert (folder / CLASSES[name] / "data").read_text() == "whole"
        torchvision.calls.clear()
        load(name)
        assert [download for _, _, download in torchvision.calls] == [False, False]

    def test_a_download_completes_a_folder_that_was_left_unfinished(self, folder, torchvision):
        (folder / "MNIST").mkdir()
        (folder / "MNIST" / "mine.txt").write_text("kept")
        load("mnist")
        assert everything_under(folder) == ["MNIST", "MNIST/data", "MNIST/mine.txt"]

    @pytest.mark.parametrize("name", NAMES)
    def test_a_failed_download_says_what_to_do_and_leaves_nothing(self, folder, torchvision, name):
        torchvision.download_fails = OSError("no\nnetwork")
        with pytest.raises(DataUnavailable) as caught:
            load(name)
        message = str(caught.value)
        assert f"data set {name} is missing or incomplete in {folder}" in message
        assert "OSError: no network" in message
        assert f"{STEMS[name]}_train*.npz and {STEMS[name]}_test*.npz" in message
        assert f"torchvision.datasets.{CLASSES[name]}(folder, download=True)" in message
        assert message.count("BENCHSUITE_DATA") == 2
        assert "\n" not in message
        assert caught.value.__suppress_context__
        assert everything_under(folder) == []

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path, monkeypatch, torchvision):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("BENCHSUITE_DATA", str(tmp_path / "file"))
        with pytest.raises(DataUnavailable, match=rf"in {tmp_path / 'file'} and .*FileExists"):
            load("mnist")

    @pytest.mark.parametrize("failure", [AssertionError("shape"), RuntimeError("shape")])
    def test_damaged_files_are_not_downloaded_over(self, folder, torchvision, failure):
        (folder / "MNIST").mkdir()
        (folder / "MNIST" / "data").write_text("damaged")
        torchvision.reading_fails = failure
        with pytest.raises(DataUnavailable, match=rf"mnist files in {folder} .*Error: shape"):
            load("mnist")
        assert (folder / "MNIST" / "data").read_text() == "damaged"

    @pytest.mark.parametrize(
        "failure", [RuntimeError("operator torchvision::nms does not exist"), OSError("libcudart")]
    )
    def test_a_torchvision_that_does_not_import_is_a_reason(self, folder, monkeypatch, failure):
        def refuse(name):
            assert name == "torchvision.datasets"
            raise failure

        monkeypatch.setattr(sources, "importlib", types.SimpleNamespace(import_module=refuse))
        with pytest.raises(
            DataUnavailable, match=rf"svhn is missing.*import here.*{failure}.*svhn_"
        ):
            load("svhn")

    def test_an_import_that_warns_is_not_an_error(self, folder, torchvision, monkeypatch):
        import warnings

        def warn(name):
            warnings.warn("no codec", UserWarning, stacklevel=1)
            return torchvision.module

        monkeypatch.setattr(sources, "importlib", types.SimpleNamespace(import_module=warn))
        assert len(load("mnist")[0]) == 20

    def test_without_the_variable_a_cache_is_used(self, tmp_path, torchvision, monkeypatch):
        monkeypatch.setenv("BENCHSUITE_DATA", "")
        monkeypatch.setenv("HOME", str(tmp_path))
        load("usps")
        assert (tmp_path / ".cache" / "benchsuite" / "data" / "USPS" / "data").exists()

    def test_importing_benchsuite_data_does_not_import_torchvision(self):
        import subprocess

        code = "import sys, benchsuite.data; print('torchvision' in sys.modules)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.stdout == "False\n", run.stderr

    def test_the_real_one_reads_mnist_s_own_files(self, folder):
        try:
            import torchvision.datasets  # noqa: F401
        except Exception as error:
            pytest.skip(f"torchvision does not import here: {error}")
        raw = folder / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for prefix, train in (("train", True), ("t10k", False)):
            images, labels = split(train, (28, 28))
            for suffix, array in (("images-idx3", images), ("labels-idx1", labels)):
                header = np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes()
                (raw / f"{prefix}-{suffix}-ubyte").write_bytes(header + array.tobytes())
        train, test = load("mnist")
        assert train == Dataset(*split(True, (28, 28)))
        assert test == Dataset(*split(False, (28, 28)))
        path = raw / "train-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(DataUnavailable, match=f"mnist files in {folder}"):
            load("mnist")


@pytest.mark.parametrize("name", ["MNIST", "fashion", "digits", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"name is '{name}', expected one of mnist, .*usps"):
        load(name)


class TestRealFiles:
    """The published images, where this machine has them."""

    FOLDER = Path(
        os.environ.get("BENCHSUITE_DATA") or Path(__file__).parents[3] / "shared" / "data"
    )

    @pytest.mark.parametrize(
        ("name", "stem", "shape", "train_counts", "test_counts"),
        [
            (
                "mnist",
                "mnist",
                (60_000, 28, 28),
                [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
                [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
            ),
            (
                "usps",
                "usps",
                (7291, 16, 16),
                [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644],
                [359, 264, 198, 166, 200, 160, 170, 147, 166, 177],
            ),
        ],
    )
    def test_class_counts(self, monkeypatch, name, stem, shape, train_counts, test_counts):
        if not list(self.FOLDER.glob(f"{stem}_train*.npz")):
            pytest.skip(f"no {stem}_train*.npz here; set BENCHSUITE_DATA to the folder with it")
        monkeypatch.setenv("BENCHSUITE_DATA", str(self.FOLDER))
        train, test = load(name)
        assert train.images.shape == shape
        assert train.images.dtype == np.uint8
        np.testing.assert_array_equal(np.bincount(train.labels), train_counts)
        np.testing.assert_array_equal(np.bincount(test.labels), test_counts)

    def test_cifar10_is_colour_and_upright(self, monkeypatch):
        if not list(self.FOLDER.glob("cifar10_test*.npz")):
            pytest.skip("no cifar10_test*.npz here; set BENCHSUITE_DATA to the folder with it")
        monkeypatch.setenv("BENCHSUITE_DATA", str(self.FOLDER))
        _, test = load("cifar10")
        assert test.images.shape[1:] == (32, 32, 3)
        mean = test.inputs().mean(axis=(0, 2, 3))
        np.testing.assert_allclose(mean, [0.491, 0.482, 0.447], atol=0.01)  # red, green, blue
