import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from benchsuite.outliers import energy_score, msp_score
from benchsuite.stats.confidence import scaled_confidence

SCORES = [msp_score, energy_score]


def some_logits(*shape, scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def logits(bound):
    shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6).filter(lambda s: s[-1] > 1)
    return hnp.arrays(np.float64, shapes, elements=st.floats(-bound, bound))


def detector(name):
    """One of pytorch-ood's, whose import of torchvision fails beside some builds of torch."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pytorch_ood import detector as detectors
    except Exception as error:
        pytest.skip(f"pytorch_ood cannot be imported: {type(error).__name__}: {error}")
    return getattr(detectors, name)


def test_values_known_by_hand():
    # Softmax (0.7, 0.2, 0.1), (0.5, 0.5, 0), and a uniform one of four classes.
    np.testing.assert_allclose(msp_score(np.log([0.7, 0.2, 0.1])), -0.7, rtol=1e-15)
    np.testing.assert_allclose(msp_score([[7, 7, -2000], [0, 0, -2000]]), [-0.5, -0.5])
    assert msp_score([-3, -3, -3, -3]) == -0.25
    # exp sums to 6, also where every logit is 100 more
    np.testing.assert_allclose(energy_score(np.log([1, 2, 3])), -np.log(6), rtol=1e-15)
    np.testing.assert_allclose(energy_score(np.log([1, 2, 3]) + 100), -np.log(6) - 100)
    # T = 2: the sum of square roots of (1, 4, 9) is 6
    np.testing.assert_allclose(energy_score(np.log([1, 4, 9]), 2), -2 * np.log(6), rtol=1e-15)


@given(logits(bound=600))
def test_the_scores_are_those_of_scipy(z):
    np.testing.assert_allclose(msp_score(z), -special.softmax(z, axis=-1).max(axis=-1), rtol=1e-13)
    for temperature in (0.5, 1.0, 10.0):
        expected = -temperature * special.logsumexp(z / temperature, axis=-1)
        np.testing.assert_allclose(energy_score(z, temperature), expected, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("shape", [(7,), (5, 10), (3, 4, 10), (2, 3, 4, 5)])
def test_the_scores_are_those_of_torch(shape):
    z = some_logits(*shape)
    tensor = torch.tensor(z)
    np.testing.assert_allclose(msp_score(z), -torch.softmax(tensor, -1).amax(-1).numpy())
    np.testing.assert_allclose(energy_score(z), -torch.logsumexp(tensor, -1).numpy())
    for score in SCORES:
        assert score(z).shape == shape[:-1]
        assert score(z).dtype == np.float64


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_energy_is_that_of_pytorch_ood(temperature):
    z = some_logits(50, 10, scale=8)
    expected = detector("EnergyBased").score(torch.tensor(z), t=temperature)
    np.testing.assert_allclose(energy_score(z, temperature), expected.numpy(), rtol=1e-12)


def test_the_maximum_softmax_is_that_of_pytorch_ood():
    z = some_logits(50, 10, scale=8)
    expected = detector("MaxSoftmax").score(torch.tensor(z))
    np.testing.assert_allclose(msp_score(z), expected.numpy(), rtol=1e-12)


@given(logits(bound=1e30))
def test_scores_are_finite_and_within_their_bounds_for_any_logits(z):
    classes, largest = z.shape[-1], z.max(axis=-1)
    msp, energy = msp_score(z), energy_score(z)
    assert ((msp >= -1) & (msp <= -1 / classes)).all()
    slack = 1e-12 * (1 + np.abs(largest))
    assert (energy <= -largest + slack).all()
    assert (energy >= -largest - np.log(classes) - slack).all()


@given(logits(bound=50), st.integers(-30, 30))
def test_a_shift_of_all_logits_moves_the_energy_alone(z, shift):
    np.testing.assert_allclose(msp_score(z + shift), msp_score(z), rtol=1e-12)
    np.testing.assert_allclose(energy_score(z + shift), energy_score(z) - shift, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_the_order_of_the_classes_does_not_matter_and_float32_is_widened(score):
    z = some_logits(20, 10).astype(np.float32)
    order = np.random.default_rng(1).permutation(10)
    np.testing.assert_allclose(score(z[:, order]), score(z), rtol=1e-14)
    np.testing.assert_array_equal(score(z), score(z.astype(np.float64)))


@pytest.mark.parametrize("score", SCORES)
def test_the_arguments_are_left_as_they_were(score):
    z = some_logits(4, 10)
    before = z.copy()
    score(z)
    np.testing.assert_array_equal(z, before)


def test_unsure_models_score_higher():
    sure, unsure = some_logits(500, 10, scale=6), some_logits(500, 10, scale=1)
    for score in SCORES:
        assert stats.mannwhitneyu(score(unsure), score(sure), alternative="greater").pvalue < 1e-20


def test_a_high_temperature_goes_to_the_mean_logit_and_a_low_one_to_the_largest():
    z = some_logits(6, 10)
    hot = energy_score(z, 1e6) + 1e6 * np.log(10)
    np.testing.assert_allclose(hot, -z.mean(axis=-1), atol=1e-4)
    np.testing.assert_allclose(energy_score(z, 1e-3), -z.max(axis=-1), atol=1e-2)


def test_the_published_score_ties_where_the_log_odds_of_the_prediction_do_not():
    leads = np.array([1.0, 16, 17, 20, 30, 36, 38, 40, 200, 700])
    z = np.stack([leads, np.zeros(10)], axis=-1)
    apart = np.diff(msp_score(z)) != 0
    assert apart[:5].all()
    assert not apart[6:].any()  # float64; a float32 softmax ties from 17 on
    alone = torch.softmax(torch.tensor(z, dtype=torch.float32), -1).amax(-1).numpy()
    assert (alone[2:] == 1).all()
    np.testing.assert_array_equal(-scaled_confidence(z, z.argmax(axis=-1)), -leads)


@given(hnp.arrays(np.float64, (12, 4), elements=st.floats(-12, 12, width=32)))
def test_the_log_odds_of_the_prediction_have_the_order_of_the_score(z):
    msp, log_odds = msp_score(z), -scaled_confidence(z, z.argmax(axis=-1))
    np.testing.assert_allclose(msp, -special.expit(-log_odds), rtol=1e-12)
    order = np.argsort(log_odds)
    assert (np.diff(msp[order]) >= -1e-15).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[1.0, np.nan]], r"logits must be finite but 1 of its 2 values are not"),
        ([[np.inf, 0.0]], r"first logits\[0, 0\] = inf"),
        ([[1.0], [2.0]], r"logits has shape \[2, 1\], expected at least 2 classes"),
        (3.0, r"logits has shape \[\], expected at least 2 classes"),
        (np.zeros((0, 10)), "logits is empty"),
        ([["a", "b"]], "logits has dtype"),
    ],
    ids=["nan", "inf", "one class", "a number", "empty", "words"],
)
def test_logits_that_are_none_are_named(score, bad, message):
    with pytest.raises(ValueError, match=message):
        score(bad)


@pytest.mark.parametrize("temperature", [0, -1.0, np.inf, np.nan])
def test_a_temperature_that_is_none_is_named(temperature):
    with pytest.raises(ValueError, match=f"temperature is {temperature}, expected a finite number"):
        energy_score([1.0, 2.0], temperature)
