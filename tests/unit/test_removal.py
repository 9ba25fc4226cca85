import numpy as np
import pytest

from benchsuite.data.dataset import Dataset
from benchsuite.experiments.removal import Removal
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subjects import digits_tiny

LABELS = np.array([0, 1, 0, 1, 0, 1, 2, 2, 0, 1])


def pool(seed=0):
    return Dataset(np.random.default_rng(seed).random((10, 4), dtype=np.float32), LABELS)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([0, 10], "takes out example 10, expected positions from 0 to 9"),
        ([0, -1], "takes out example -1, expected positions from 0 to 9"),
        ([3, 3], "names an example twice"),
        ([0.0, 1.0], "dtype float64 and shape \\(2,\\), expected a list of integers"),
        ([True, False], "dtype bool"),
        ([[0, 1]], "shape \\(1, 2\\)"),
        (["0"], "expected a list of integers"),
    ],
)
def test_what_is_no_list_of_positions_is_refused(examples, message):
    with pytest.raises(ValueError, match=f"removal 'layer' .*{message}") as caught:
        Removal(pool(), "layer", examples)
    assert not isinstance(caught.value, CannotResolveError)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "takes out no example"),
        (np.array([], dtype=int), "takes out no example"),
        (range(10), "takes out 10 examples of a pool of 10"),
        (range(12), "takes out 12 examples of a pool of 10"),
        ([6, 7], "takes out every example of class 2"),
        ([8, 4, 2, 0, 6], "takes out every example of class 0"),
    ],
)
def test_what_a_pool_is_too_small_for_cannot_be_resolved(examples, message):
    with pytest.raises(CannotResolveError, match=f"removal 'layer' {message}"):
        Removal(pool(), "layer", examples)


def test_a_class_that_was_empty_before_is_not_emptied():
    without_class_1 = Dataset(pool().images, np.where(LABELS == 1, 3, LABELS))
    assert len(Removal(without_class_1, "layer", [0])) == 1


@pytest.mark.parametrize(
    "examples", [[5, 0, 6], (5, 0, 6), np.array([5, 0, 6]), iter([5, 0, 6]), {0, 5, 6}]
)
def test_kept_are_the_others_in_the_pools_order(examples):
    removal = Removal(pool(), "layer", examples)
    assert len(removal) == 3
    assert removal.examples == (0, 5, 6)
    assert all(type(each) is int for each in removal.examples)
    np.testing.assert_array_equal(removal.kept, [1, 2, 3, 4, 7, 8, 9])


def test_the_digest_is_of_what_is_removed_from_what_alone():
    removal = Removal(pool(), "layer", [5, 0, 6])
    assert removal.digest == Removal(pool(), "random", [6, 5, 0]).digest
    assert removal.digest != Removal(pool(), "layer", [5, 0, 7]).digest
    assert removal.digest != Removal(pool(seed=1), "layer", [5, 0, 6]).digest
    assert len(removal.digest) == 12


def test_without_trains_on_what_is_kept():
    subject = digits_tiny()
    removal = Removal(subject.pool, "layer", [5, 0])
    without = removal.without(subject)
    assert without.name == "digits-tiny-without-layer"
    assert without.pool == subject.pool.subset(removal.kept)
    assert without.test == subject.test
    assert (without.model, without.recipe) == (subject.model, subject.recipe)


def test_another_pool_is_refused():
    subject = digits_tiny()
    removal = Removal(subject.pool.subset(range(100)), "layer", [5, 0])
    with pytest.raises(ValueError, match=r"removal 'layer' is from another pool.*digits-tiny"):
        removal.without(subject)


def test_layers_are_peeled_one_after_another():
    first = Removal(pool(), "peeled", [5, 0])
    second = first.and_also(np.array([1, 8]))
    assert second.examples == (0, 1, 5, 8)
    assert second.why == "peeled"
    assert first.examples == (0, 5)
    with pytest.raises(ValueError, match="names an example twice"):
        second.and_also([5])
    with pytest.raises(CannotResolveError, match="every example of class 2"):
        second.and_also([6, 7])
