import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from benchsuite.data import CLEAN, FLIPPED, breast_cancer


def test_no_tumour_is_lost_or_in_both_parts():
    pool, test = breast_cancer(flipped=0)
    assert pool.images.shape == (440, 30)
    assert test.images.shape == (129, 30)
    assert pool.images.dtype == test.images.dtype == np.float32
    bunch = load_breast_cancer()
    ours = np.concatenate([pool.images, test.images]).astype(np.float64)
    theirs = (bunch.data - bunch.data.mean(0)) / bunch.data.std(0)
    ours = (ours - ours.mean(0)) / ours.std(0)
    labels = np.concatenate([pool.labels, test.labels])
    order, their_order = (np.lexsort(rows[:, :4].round(4).T) for rows in (ours, theirs))
    np.testing.assert_allclose(ours[order], theirs[their_order], atol=1e-4)
    np.testing.assert_array_equal(labels[order], bunch.target[their_order])


def test_it_is_the_pool_that_is_standardised():
    pool, test = breast_cancer()
    np.testing.assert_allclose(pool.images.mean(axis=0, dtype=float), 0, atol=1e-5)
    np.testing.assert_allclose(pool.images.std(axis=0, dtype=float), 1, atol=1e-5)
    assert np.abs(test.images.mean(axis=0)).max() > 0.01


def test_the_split_is_stratified():
    pool, test = breast_cancer(flipped=0)
    assert abs(test.labels.mean() - pool.labels.mean()) < 1 / 129


@pytest.mark.parametrize(("flipped", "count"), [(0, 0), (0.05, 22), (0.2, 88), (0.5, 220)])
def test_exactly_the_share_is_flipped_and_in_the_pool_alone(flipped, count):
    (pool, test), (truth, same_test) = breast_cancer(flipped), breast_cancer(0)
    wrong = pool.labels != truth.labels
    assert wrong.sum() == count
    np.testing.assert_array_equal(pool.groups, np.where(wrong, FLIPPED, CLEAN))
    np.testing.assert_array_equal(pool.images, truth.images)
    assert test == same_test
    assert set(test.groups) == {CLEAN}


def test_a_seed_chooses_which():
    one, again, other = (breast_cancer(0.05, seed)[0].groups == FLIPPED for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one & other).sum() < 10
    assert 120 < np.flatnonzero(one).mean() < 320  # not the first


def test_it_is_the_same_everywhere():
    pool, _ = breast_cancer()
    assert np.flatnonzero(pool.groups == FLIPPED)[:5].tolist() == [0, 43, 54, 66, 69]


@pytest.mark.parametrize("flipped", [-0.1, 0.6, float("nan")])
def test_another_share_is_refused(flipped):
    with pytest.raises(ValueError, match=rf"flipped is {flipped}, expected .* from 0 to 0\.5"):
        breast_cancer(flipped)
