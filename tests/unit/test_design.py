import hashlib
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.shadows import design
from benchsuite.shadows.design import Balanced

SHARES = {0.5: 2, 0.7: 10, 0.25: 4, 1 / 3: 3, 0.9: 10, 0.02: 50}  # and their denominators

shares = st.sampled_from(sorted(SHARES))
seeds = st.integers(0, 2**64 - 1)
quick = settings(max_examples=25, deadline=None)


@st.composite
def designs(draw, least=2, most=300):
    share = draw(shares)
    denominator = SHARES[share]
    factor = draw(st.integers(max(1, -(-least // denominator)), most // denominator))
    return Balanced(factor * denominator, share, draw(seeds))


@quick
@given(designs())
def test_every_row_and_every_column_of_a_block_has_exactly_its_share(balanced):
    exact = Fraction(balanced.share).limit_denominator(100)
    rows = balanced.rows(0, 2 * balanced.block)
    assert rows.dtype == np.bool_
    assert set(rows.sum(axis=1)) == {exact * balanced.examples}
    for block in np.split(rows, 2):
        assert set(block.sum(axis=0)) == {exact * balanced.block}


@quick
@given(designs(), st.lists(st.integers(0, 350), min_size=2, max_size=2))
def test_any_range_of_models_is_a_part_of_the_whole(balanced, ends):
    first, last = sorted(ends)
    np.testing.assert_array_equal(balanced.rows(first, last), balanced.rows(0, 350)[first:last])


def test_growing_keeps_the_first_models():
    small, large = Balanced(100, seed=3).rows(0, 256), Balanced(100, seed=3).rows(0, 1024)
    np.testing.assert_array_equal(large[:256], small)


@quick
@given(designs(least=40))
def test_seeds_and_blocks_differ_and_the_same_ones_agree(balanced):
    block = balanced.block
    rows = balanced.rows(0, 2 * block)
    twin = Balanced(balanced.examples, balanced.share, balanced.seed)
    other = Balanced(balanced.examples, balanced.share, (balanced.seed + 1) % 2**64)
    np.testing.assert_array_equal(twin.rows(0, 2 * block), rows)
    assert (other.rows(0, block) != rows[:block]).any()
    assert (rows[:block] != rows[block:]).any()


@quick
@given(st.integers(100, 200), seeds)
def test_no_row_is_another_or_its_complement(half, seed):
    rows = Balanced(2 * half, seed=seed).rows(0, 128).astype(int)
    overlap = rows @ rows.T
    np.fill_diagonal(overlap, half // 2)
    assert overlap.min() > 0  # 0 would be a complement
    assert overlap.max() < half  # half would be the same row


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_two_examples_are_in_together_as_often_as_independent_ones(share):
    balanced, examples, blocks = Balanced(120, share, seed=11), 120, 60
    size, ones = balanced.block, round(share * balanced.block)
    rows = balanced.rows(0, blocks * size).astype(float)
    together = (rows.T @ rows)[np.triu_indices(examples, 1)]
    # The sums of rows fix the mean; within a block the count of a pair is hypergeometric.
    mean = len(rows) * share * (share * examples - 1) / (examples - 1)
    variance = blocks * ones * share * (1 - share) * (size - ones) / (size - 1)
    z = (together - mean) / np.sqrt(variance)
    assert together.mean() == pytest.approx(mean)
    assert z.std() == pytest.approx(1, abs=0.05)
    assert np.abs(z).max() < 5


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_two_models_share_as_many_examples_as_independent_ones(share):
    balanced, examples = Balanced(5000, share, seed=12), 5000
    size = balanced.block
    rows = balanced.rows(0, size).astype(float)
    overlap = (rows @ rows.T)[np.triu_indices(size, 1)]
    mean = examples * share * (share * size - 1) / (size - 1)  # fixed by the sums of columns
    z = (overlap - mean) / (np.sqrt(examples) * share * (1 - share))
    assert overlap.mean() == pytest.approx(mean)
    assert z.std() == pytest.approx(1, abs=0.08)
    assert np.abs(z).max() < 5


def test_each_cell_is_in_for_its_share_over_seeds():
    rows = np.mean([Balanced(10, 0.7, seed).rows(0, 80) for seed in range(400)], axis=0)
    z = (rows - 0.7) / np.sqrt(0.21 / 400)
    assert np.abs(z).max() < 5
    assert z.std() == pytest.approx(1, abs=0.1)


def test_rows_do_not_depend_on_how_many_columns_are_drawn_at_once(monkeypatch):
    whole = Balanced(90, seed=5).rows(0, 64)
    monkeypatch.setattr(design, "_KEYS_AT_ONCE", 7 * 64)
    np.testing.assert_array_equal(Balanced(90, seed=5).rows(0, 64), whole)


def test_rows_are_those_that_banks_were_trained_on():
    # A failure means that every bank's membership changes: raise the version in `identity`.
    packed = np.packbits(Balanced(100, 0.7, seed=7).rows(70, 90)).tobytes()
    assert hashlib.sha256(packed).hexdigest()[:16] == "af79976730c921f9"


@pytest.mark.parametrize(
    ("share", "block"), [(0.5, 64), (0.7, 80), (0.25, 64), (0.05, 80), (1 / 3, 96), (0.37, 400)]
)
def test_block_is_the_smallest_that_can_be_balanced(share, block):
    assert Balanced(3000, share).block == block


def test_an_empty_range_has_no_rows():
    assert Balanced(20).rows(5, 5).shape == (0, 20)


def test_identities_survive_json_and_tell_designs_apart():
    some = [Balanced(20), Balanced(40), Balanced(20, 0.7), Balanced(20, seed=1)]
    texts = [json.dumps(each.identity(), sort_keys=True) for each in some]
    assert len(set(texts)) == len(some)
    assert [json.loads(text) for text in texts] == [each.identity() for each in some]
    numpys = Balanced(np.int64(20), np.float64(0.5), np.int64(0))
    assert json.dumps(numpys.identity(), sort_keys=True) == texts[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 1}, "examples is 1, expected an integer, a pool of at least 2"),
        ({"examples": 20.0}, "examples is 20.0, expected an integer"),
        ({"examples": 21}, "examples is 21, which cannot be balanced.*1/2.*drop 1 example or"),
        ({"examples": 1797, "share": 0.7}, "cannot be balanced.*7/10.*drop 7 examples or"),
        ({"examples": 20, "share": 0.0}, "share is 0.0, expected a fraction above 0 and below 1"),
        ({"examples": 20, "share": 1.0}, "share is 1.0, expected a fraction above 0 and below 1"),
        ({"examples": 20, "share": float("nan")}, "share is nan, expected a fraction"),
        ({"examples": 20, "share": 0.123456}, "share is 0.123456.*denominator up to 100.*10/81"),
        ({"examples": 20, "seed": -1}, "seed is -1, expected an integer from 0"),
        ({"examples": 20, "seed": 2**64}, "seed is 18446744073709551616, expected"),
        ({"examples": 20, "seed": 0.5}, "seed is 0.5, expected an integer"),
    ],
)
def test_bad_designs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Balanced(**arguments)


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (5, 4)])
def test_bad_ranges_are_named(first, last):
    with pytest.raises(ValueError, match=rf"rows\({first}, {last}\).*0 <= first <= last"):
        Balanced(20).rows(first, last)
