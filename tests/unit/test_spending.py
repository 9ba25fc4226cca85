import pytest

from benchsuite.sequential import LOOKS
from benchsuite.stats.spending import levels, spent


@pytest.mark.parametrize("alpha", [0.05, 0.00625, 1e-6])
@pytest.mark.parametrize("shares", [(1.0,), (0.5, 1.0), LOOKS, (0.1, 0.2, 0.7, 1.0)])
def test_levels_add_up_to_alpha(shares, alpha):
    each = levels(shares, alpha)
    assert len(each) == len(shares)
    assert all(level > 0 for level in each)
    assert sum(each) == pytest.approx(alpha, rel=1e-12)
    assert sum(each) <= alpha * (1 + 1e-12)


def test_what_is_spent_grows_from_nothing_to_alpha():
    shares = [k / 20 for k in range(21)]
    each = [spent(share, 0.05) for share in shares]
    assert (each[0], each[-1]) == (0, 0.05)
    assert each == sorted(set(each))
    assert spent(0.5, 0.05) == pytest.approx(0.05 / 4)


def test_the_looks_of_claims_keep_three_quarters_for_the_last():
    assert levels(LOOKS, 0.16) == pytest.approx((0.01, 0.03, 0.12))


@pytest.mark.parametrize(
    "shares", [(), (0.5,), (0.5, 0.5, 1), (0.5, 0.25, 1), (0, 1), (-0.5, 1), (0.5, 1, 2)]
)
def test_shares_must_grow_to_one(shares):
    with pytest.raises(ValueError, match=r"shares is .*, expected them to increase"):
        levels(shares, 0.05)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"share is 1\.5, expected a number from 0 to 1"):
        spent(1.5, 0.05)
    for alpha in (0, 1, -0.1):
        with pytest.raises(ValueError, match="alpha is"):
            levels(LOOKS, alpha)
        with pytest.raises(ValueError, match="alpha is"):
            spent(0.5, alpha)
