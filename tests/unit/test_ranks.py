import numpy as np
import pytest
from scipy.stats import rankdata

from benchsuite.stats.ranks import spearman


def test_is_the_correlation_of_mean_ranks():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 40), rng.normal(size=40)
    expected = np.corrcoef(rankdata(one), rankdata(other))[0, 1]
    assert spearman(one, other) == pytest.approx(expected)
    assert spearman(one, -other) == pytest.approx(-expected)


def test_of_a_constant_is_nothing():
    assert spearman([1, 1, 1], [1, 2, 3]) == spearman([1, 2, 3], [0.5, 0.5, 0.5]) == 0


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ([1, np.nan], [1, 2], "one"),
        ([1, 2], [[1, 2]], "other"),
        ([1, 2, 3], [1, 2], "shape"),
    ],
)
def test_what_cannot_be_ranked_is_named(one, other, message):
    with pytest.raises(ValueError, match=message):
        spearman(one, other)
