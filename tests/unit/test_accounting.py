import math
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from benchsuite import Privacy, Recipe, noise_for, privacy_spent

pytest.importorskip("opacus")
quick = settings(max_examples=15, deadline=None)


def recipe(noise, epochs=10, batch_size=64):
    return Recipe(epochs, batch_size, privacy=Privacy(noise, 1.0))


def spent(noise, epochs=10, batch_size=64, examples=1500, delta=1e-5, accountant="rdp"):
    return privacy_spent(recipe(noise, epochs, batch_size), examples, delta, accountant).epsilon


def test_it_is_what_opacus_prints_in_its_documentation_and_papers_report():
    # 2,250 steps at a rate of .04; and the 100 epochs of batches of 256 of 42,700.
    assert spent(1.5, 90, 40, 1000) == pytest.approx(7.32911117, abs=1e-8)
    both = privacy_spent(recipe(1.3, 100, 256), 42_700, 1e-5)
    assert str(both) == "epsilon 3.19 at delta 1e-05 (Opacus's RDP accountant)"
    assert both.epsilon == pytest.approx(3.19, abs=1e-3)
    tighter = privacy_spent(recipe(1.3, 100, 256), 42_700, 1e-5, "prv")
    assert str(tighter) == "epsilon 2.95 at delta 1e-05 (Opacus's PRV accountant)"


def epsilon_of_gaussian(noise, steps, delta):
    """Without sampling, exactly: Balle and Wang (2018), Theorem 8, of the mean shift in sum."""
    mean = math.sqrt(steps) / noise

    def excess(epsilon):
        hit = norm.cdf(mean / 2 - epsilon / mean)
        return hit - math.exp(epsilon) * norm.cdf(-mean / 2 - epsilon / mean) - delta

    return brentq(excess, 0, 500)


@pytest.mark.parametrize(("noise", "steps", "delta"), [(3, 4, 1e-5), (20, 30, 1e-3), (9, 1, 1e-7)])
@pytest.mark.parametrize("batch_size", [10, 5000])
def test_of_whole_batches_it_bounds_the_exact_epsilon_closely(noise, steps, delta, batch_size):
    exact = epsilon_of_gaussian(noise, steps, delta)
    arguments = {"epochs": steps, "batch_size": batch_size, "examples": 10, "delta": delta}
    by_grid = spent(noise, **arguments, accountant="prv")
    assert exact <= by_grid <= exact + 0.03
    assert by_grid <= spent(noise, **arguments) <= 1.3 * exact


@pytest.mark.parametrize(
    ("noise", "batch_size", "examples", "delta"),
    [(1.5, 1, 2, 1e-3), (1, 3, 5, 1e-4), (3, 19, 20, 1e-2)],
)
def test_of_two_samples_it_bounds_the_exact_epsilon_of_joining_and_leaving(
    noise, batch_size, examples, delta
):
    rate, grid = batch_size / examples, np.linspace(-9 * noise, 1 + 9 * noise, 1200)
    cell = (grid[1] - grid[0]) ** 2
    without = norm.pdf(grid, 0, noise)
    with_it = (1 - rate) * without + rate * norm.pdf(grid, 1, noise)
    without, with_it = (np.multiply.outer(each, each) * cell for each in (without, with_it))

    def exact(p, q):
        return brentq(lambda e: np.maximum(p - math.exp(e) * q, 0).sum() - delta, 0, 30)

    both = max(exact(with_it, without), exact(without, with_it))
    arguments = (noise, 1, batch_size, examples, delta)
    assert recipe(noise, 1, batch_size).steps(examples) == 2
    assert both <= spent(*arguments, "prv") <= both + 0.03
    assert both <= spent(*arguments) <= 2 * both


@quick
@given(st.floats(0.4, 50), st.floats(1.01, 3), st.integers(1, 100), st.integers(1, 3000))
def test_it_falls_with_noise_and_rises_with_epochs_and_batches(noise, factor, epochs, batch):
    before = spent(noise, epochs, batch)
    assert spent(noise * factor, epochs, batch) <= before
    assert spent(noise, epochs + 1, batch) >= before
    assert spent(noise, epochs, batch, delta=1e-6) >= before
    assert before > 0
    assert spent(noise, 10**7, batch) > before


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_it_falls_with_noise_and_rises_with_epochs_by_either(accountant):
    by_noise = [spent(noise, accountant=accountant) for noise in (0.6, 0.9, 1.4, 3, 10)]
    assert by_noise == sorted(by_noise, reverse=True)
    by_epochs = [spent(1, epochs, accountant=accountant) for epochs in (1, 5, 20, 80)]
    assert by_epochs == sorted(by_epochs)
    assert len({*by_noise, *by_epochs}) == 9


def test_the_grid_is_tighter_than_the_orders():
    for noise in (0.7, 1.3, 5):
        assert spent(noise, accountant="prv") < spent(noise)


def test_neither_says_less_than_0():
    assert spent(1000, 1, delta=0.5) == 0
    assert spent(1000, 1, delta=0.5, accountant="prv") == 0


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
@pytest.mark.parametrize("noise", [0, 1e-160])
def test_without_noise_nothing_is_bounded(noise, accountant):
    of_none = privacy_spent(recipe(noise), 1500, 1e-5, accountant)
    assert of_none.epsilon == math.inf
    assert str(of_none).startswith("epsilon inf at delta 1e-05")


# ---- noise for a budget ----


@quick
@given(
    st.floats(math.log(0.2), math.log(30)).map(math.exp),
    st.integers(1, 60),
    st.integers(1, 400),
    st.sampled_from([1e-3, 1e-5]),
)
def test_noise_keeps_to_its_budget_and_hardly_less_noise_does_not(epsilon, epochs, batch, delta):
    noise = noise_for(epsilon, recipe(1, epochs, batch), 1500, delta)
    assert spent(noise, epochs, batch, delta=delta) <= epsilon
    assert spent(noise / 1.0011, epochs, batch, delta=delta) > epsilon


def test_noise_is_found_again():
    for noise in (0.5, 1.3, 40):
        epsilon = spent(noise)
        assert noise_for(epsilon, recipe(1), 1500, 1e-5) == pytest.approx(noise, rel=1.1e-3)


def test_noise_by_the_grid_is_less():
    noise = noise_for(1.0, recipe(1), 1500, 1e-5, "prv")
    assert spent(noise, accountant="prv") <= 1 < spent(noise / 1.002, accountant="prv")
    assert noise < 0.95 * noise_for(1.0, recipe(1), 1500, 1e-5)


def test_the_recipes_own_privacy_does_not_matter():
    asked = [replace(recipe(3), privacy=each) for each in (None, Privacy(0, 1), Privacy(7, 2))]
    assert len({noise_for(2.0, each, 1500, 1e-5) for each in asked}) == 1


@pytest.mark.parametrize(
    ("epsilon", "accountant", "message"),
    [
        (0, "rdp", "epsilon=0 must be above 0 and finite"),
        (-1, "rdp", "epsilon=-1 must be above 0"),
        (math.nan, "rdp", "epsilon=nan must be above 0"),
        (math.inf, "rdp", "epsilon=inf must be above 0 and finite"),
        (
            0.05,
            "rdp",
            "epsilon=0.05 is out of reach: accountant='rdp' gives 0.103 for a noise of 1",
        ),
        (1e-3, "prv", "epsilon=0.001 is out of reach: accountant='prv' gives 0.0107"),
        (1e12, "rdp", "epsilon=.* is more than accountant='rdp' computes of this recipe: ask for"),
        (300, "prv", "epsilon=300 is more than accountant='prv' computes of this recipe: ask for"),
    ],
)
def test_budgets_out_of_reach_are_named(epsilon, accountant, message):
    with pytest.raises(ValueError, match=message):
        noise_for(epsilon, recipe(1), 1500, 1e-5, accountant)


# ---- what cannot be counted ----


@pytest.mark.parametrize("asked", [privacy_spent, partial(noise_for, 1.0)])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delta": 0}, "delta=0 must be above 0 and below 1, such as 1e-5"),
        ({"delta": 1}, "delta=1 must be above 0 and below 1"),
        ({"delta": math.nan}, "delta=nan must be above 0"),
        ({"examples": 0}, "examples=0 must be an int of at least 1, the size of a training subset"),
        ({"examples": 10.5}, r"examples=10\.5 must be an int"),
        ({"accountant": "gdp"}, "accountant='gdp' is unknown: use 'rdp' or 'prv'"),
        ({"recipe": Privacy(1, 1)}, "recipe is a Privacy, expected a benchsuite.Recipe"),
    ],
)
def test_bad_arguments_are_named(asked, arguments, message):
    given = {"recipe": recipe(1), "examples": 1500, "delta": 1e-5} | arguments
    with pytest.raises(ValueError, match=message):
        asked(**given)


def test_a_recipe_without_privacy_has_no_epsilon():
    with pytest.raises(ValueError, match=r"recipe\.privacy is None, .*: give the recipe a Privacy"):
        privacy_spent(Recipe(), 1500, 1e-5)


def test_more_than_the_grid_holds_is_named_before_it_is_made():
    with pytest.raises(
        ValueError, match=r"'prv' computes no privacy loss above 100, which noise=0\.1"
    ):
        spent(0.1, 1000, accountant="prv")
    with pytest.raises(ValueError, match=r"'prv' fails at noise=1 and delta=1e-18 .*: use 'rdp'"):
        spent(1, delta=1e-18, accountant="prv")
    assert spent(0.1, 1000) > 10_000


def test_without_opacus_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(ImportError, match=r"needs Opacus: pip install 'benchsuite\[dp\]'"):
        spent(1)
