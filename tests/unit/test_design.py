import hashlib
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.shadows import balanced
from benchsuite.shadows.design import Balanced, Lacking, Tied, design_of

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


@st.composite
def tied_designs(draw):
    share = draw(shares)
    pairs, singles = (SHARES[share] * draw(st.integers(1, 3)) for _ in range(2))
    examples = 2 * pairs + singles
    order = draw(st.permutations(range(examples)))[: 2 * pairs]
    return Tied(examples, tuple(zip(order[::2], order[1::2], strict=True)), share, draw(seeds))


@st.composite
def lacking_designs(draw):
    share = draw(shares)
    stay = SHARES[share] * draw(st.integers(2, 4))
    gone = draw(st.integers(1, 5))
    orders = draw(st.lists(st.permutations(range(stay + gone)), min_size=1, max_size=3))
    return Lacking(stay + gone, tuple(tuple(each[:gone]) for each in orders), share, draw(seeds))


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
@given(designs(), seeds)
def test_another_seed_may_have_the_same_rows(balanced, seed):
    same = Balanced(balanced.examples, balanced.share, seed, rows_seed=balanced.seed)
    np.testing.assert_array_equal(same.rows(3, 90), balanced.rows(3, 90))
    assert same.seed == seed
    assert design_of(json.loads(json.dumps(same.identity()))).rows(0, 1).tolist() == (
        balanced.rows(0, 1).tolist()
    )


def test_a_seed_of_rows_that_says_nothing_is_in_no_key():
    assert Balanced(20, seed=3, rows_seed=3).identity() == Balanced(20, seed=3).identity()
    other = Balanced(20, seed=np.int64(3), rows_seed=np.int64(4))
    assert json.loads(json.dumps(other.identity()))["rows_seed"] == 4
    assert design_of(other.identity()) == other


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
    monkeypatch.setattr(balanced, "_KEYS_AT_ONCE", 7 * 64)
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
    some = [
        Balanced(20),
        Balanced(40),
        Balanced(20, 0.7),
        Balanced(20, seed=1),
        Balanced(20, seed=1, rows_seed=0),
        Balanced(20, seed=0, rows_seed=1),
    ]
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
        ({"examples": 20, "rows_seed": -1}, "^rows_seed is -1, expected an integer from 0"),
    ],
)
def test_bad_designs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Balanced(**arguments)


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (5, 4)])
def test_bad_ranges_are_named(first, last):
    with pytest.raises(ValueError, match=rf"rows\({first}, {last}\).*0 <= first <= last"):
        Balanced(20).rows(first, last)


# ---- twins ----


@quick
@given(tied_designs())
def test_twins_share_a_column_of_a_design_as_balanced_as_any(tied):
    exact = Fraction(tied.share).limit_denominator(100)
    rows = tied.rows(0, 2 * tied.block)
    one, other = np.array(tied.twins).T
    assert rows.dtype == np.bool_
    np.testing.assert_array_equal(rows[:, one], rows[:, other])
    assert set(rows.sum(axis=1)) == {exact * tied.examples}
    assert set(rows[:, one].sum(axis=1)) == {exact * len(tied.twins)}
    assert tied.block == Balanced(300, tied.share).block
    for block in np.split(rows, 2):
        assert set(block.sum(axis=0)) == {exact * tied.block}


@quick
@given(tied_designs(), st.lists(st.integers(0, 200), min_size=2, max_size=2))
def test_any_range_of_tied_models_is_a_part_of_the_whole(tied, ends):
    first, last = sorted(ends)
    np.testing.assert_array_equal(tied.rows(first, last), tied.rows(0, 200)[first:last])


def steps_of_two(pairs):
    return tuple((2 * i, 2 * i + 1) for i in range(pairs))


def test_only_twins_share_a_column():
    rows = Tied(90, steps_of_two(30), seed=4).rows(0, 64)
    equal = (rows[:, :, None] == rows[:, None, :]).all(axis=0)
    assert {(int(i), int(j)) for i, j in np.argwhere(np.triu(equal, 1))} == set(steps_of_two(30))


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_a_pair_and_a_single_are_in_together_as_often_as_independent_ones(share):
    tied, blocks = Tied(90, steps_of_two(30), share, seed=6), 60
    size, ones = tied.block, round(share * tied.block)
    rows = tied.rows(0, blocks * size).astype(float)
    together = rows[:, :60:2].T @ rows[:, 60:]
    # Equal streams would draw pair i and single i alike: these two parts are of equal size.
    variance = blocks * ones * share * (1 - share) * (size - ones) / (size - 1)
    z = (together - len(rows) * share**2) / np.sqrt(variance)
    assert together.mean() == pytest.approx(len(rows) * share**2)
    assert z.std() == pytest.approx(1, abs=0.1)
    assert np.abs(z).max() < 5


def test_a_pool_may_be_twins_alone():
    rows = Tied(40, steps_of_two(20), seed=9).rows(3, 70)
    np.testing.assert_array_equal(rows[:, ::2], rows[:, 1::2])
    np.testing.assert_array_equal(rows[:, ::2], Balanced(20, seed=9).rows(3, 70))


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1, np.int64(7)])
def test_every_seed_has_singles_of_its_own(seed):
    rows = Tied(60, steps_of_two(20), seed=seed).rows(0, 64)
    assert (rows[:, 40:] != Balanced(20, seed=int(seed)).rows(0, 64)).any()


def test_rows_of_twins_are_those_that_banks_were_trained_on():
    # A failure means that every tied bank's membership changes: raise the version in `identity`.
    packed = np.packbits(Tied(100, ((3, 90), (91, 2)), seed=7).rows(60, 80)).tobytes()
    assert hashlib.sha256(packed).hexdigest()[:16] == "418969e04ee2dba0"


def test_the_order_of_twins_does_not_matter():
    tied = Tied(20, ((1, 4), (7, 9)))
    assert Tied(np.int64(20), np.array([[9, 7], [4, 1]]), np.float64(0.5), np.int64(0)) == tied
    assert hash(Tied(20, [[7, 9], [4, 1]])) == hash(tied)


# ---- lacking -------------------------------------------------------------------------------------


@quick
@given(lacking_designs())
def test_each_part_is_balanced_over_what_it_does_not_lack(lacking):
    exact = Fraction(lacking.share).limit_denominator(100)
    parts, block = len(lacking.removals), lacking.block
    rows = lacking.rows(0, 2 * parts * block)
    turns = [lacking.models_of(part, len(rows)) for part in range(parts)]
    assert sorted(np.concatenate(turns)) == list(range(len(rows)))
    for part, (models, removal) in enumerate(zip(turns, lacking.removals, strict=True)):
        assert len(models) == 2 * block
        assert not rows[np.ix_(models, removal)].any()
        kept = lacking.kept(part)
        assert sorted([*kept, *removal]) == list(range(lacking.examples))
        for of_block in np.split(rows[np.ix_(models, kept)], 2):
            assert set(of_block.sum(axis=1)) == {exact * len(kept)}
            assert set(of_block.sum(axis=0)) == {exact * block}


@quick
@given(lacking_designs(), st.lists(st.integers(0, 250), min_size=2, max_size=2))
def test_any_range_of_lacking_models_is_a_part_of_the_whole(lacking, ends):
    first, last = sorted(ends)
    np.testing.assert_array_equal(lacking.rows(first, last), lacking.rows(0, 250)[first:last])


def test_no_two_blocks_of_a_lacking_design_are_drawn_alike():
    lacking = Lacking(20, ((0, 1), (0, 1)), seed=3)
    blocks = np.split(lacking.rows(0, 4 * 64)[:, 2:], 4)
    assert len({block.tobytes() for block in blocks}) == 4


def test_the_order_within_a_removal_does_not_matter_but_that_of_removals_does():
    lacking = Lacking(20, ((3, 1), (2, 0)))
    assert Lacking(np.int64(20), np.array([[1, 3], [0, 2]])) == lacking
    assert Lacking(20, ((2, 0), (3, 1))).identity() != lacking.identity()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 1}, "examples is 1, expected an integer, a pool of at least 2"),
        ({"removals": ()}, "removals is empty, expected at least one: use Balanced"),
        ({"removals": ((1, 2), ())}, r"removals holds \(\) as number 1, expected indices"),
        ({"removals": ((1, 2.5),)}, r"removals holds \(1, 2\.5\) as number 0, expected indices"),
        ({"removals": ((1, 2), (3, 3))}, "removal 1 names an example twice"),
        ({"removals": ((1, 20),)}, "removal 0 holds 20, expected indices .* from 0 to 19"),
        ({"removals": ((-1, 2),)}, "removal 0 holds -1, expected indices"),
        (
            {"removals": ((1, 2), (1,))},
            "what stays of removal 1 is balanced: examples is 19, which cannot .*drop 1",
        ),
        (
            {"removals": (tuple(range(20)),)},
            "what stays of removal 0 is balanced: examples is 0, expected .*at least 2",
        ),
        ({"share": 1.0}, "^share is 1.0, expected a fraction above 0 and below 1"),
        ({"seed": -1}, "^seed is -1, expected an integer from 0"),
    ],
)
def test_bad_lacking_designs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Lacking(**({"examples": 20, "removals": ((0, 1), (2, 3))} | arguments))


@quick
@given(designs() | tied_designs() | lacking_designs())
def test_a_design_is_rebuilt_from_its_identity(made):
    identity = made.identity()
    assert design_of(identity) == made
    again = json.loads(json.dumps(identity))
    assert again == identity
    assert design_of(again) == made


def test_identities_of_tied_designs_tell_them_apart():
    some = [
        Balanced(20),
        Tied(20, ((0, 1), (2, 3))),
        Tied(20, ((0, 2), (1, 3))),
        Tied(20, ((0, 1), (2, 3)), seed=1),
        Tied(24, ((0, 1), (2, 3))),
        Tied(24, ((0, 1), (2, 3), (4, 5), (6, 7)), 0.25),
        Tied(24, ((0, 1), (2, 3), (4, 5), (6, 7)), 0.5),
    ]
    assert len({json.dumps(each.identity(), sort_keys=True) for each in some}) == len(some)


def test_the_identity_of_a_balanced_design_is_in_the_keys_of_banks():
    assert json.dumps(Balanced(60, 0.7, 3).identity(), sort_keys=True) == (
        '{"design": "balanced", "examples": 60, "seed": 3, "share": 0.7, "version": 1}'
    )


def test_an_identity_of_an_unknown_design_is_named():
    with pytest.raises(
        ValueError, match="of the design 'cyclic', expected one of balanced, tied, lac"
    ):
        design_of({"design": "cyclic", "examples": 20})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 1}, "examples is 1, expected an integer, a pool of at least 2"),
        ({"twins": ()}, "twins is empty, expected at least one pair: use Balanced"),
        ({"twins": ((0, 20), (1, 2))}, "twins holds 20, expected indices of the pool, .*0 to 19"),
        ({"twins": ((0, 5), (-1, 2))}, "twins holds -1, expected indices of the pool"),
        ({"twins": ((0, 1), (5, 5))}, "twins pairs example 5 with itself"),
        ({"twins": ((0, 1), (2, 1))}, "twins holds example 1 in two pairs"),
        ({"twins": ((0, 1), (1, 0))}, "twins holds example 0 in two pairs"),
        ({"twins": ((0, 1), (2, 3, 4))}, r"twins holds \(2, 3, 4\), expected pairs of indices"),
        ({"twins": (0, 1)}, "twins holds 0, expected pairs of indices"),
        ({"twins": ((0, 1), (2, 3.0))}, r"twins holds \(2, 3\.0\), expected pairs of indices"),
        (
            {"twins": ((0, 1), (2, 3), (4, 5))},
            "the pairs of twins are balanced on their own: examples is 3, which cannot be .*drop 1",
        ),
        (
            {"twins": ((0, 1),)},
            "the pairs of twins are balanced on their own: examples is 1, expected .*at least 2",
        ),
        (
            {"examples": 21},
            "the examples without a twin are balanced on their own: examples is 17, which cannot",
        ),
        (
            {"examples": 5},
            "the examples without a twin are balanced on their own: examples is 1, expected",
        ),
        ({"share": 1.0}, "^share is 1.0, expected a fraction above 0 and below 1"),
        ({"share": 0.123456}, "^share is 0.123456.*denominator up to 100"),
        ({"seed": -1}, "^seed is -1, expected an integer from 0"),
        ({"seed": 0.5}, "^seed is 0.5, expected an integer"),
    ],
)
def test_bad_tied_designs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tied(**({"examples": 20, "twins": ((0, 1), (2, 3))} | arguments))


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (5, 4)])
def test_bad_ranges_of_tied_models_are_named(first, last):
    with pytest.raises(ValueError, match=rf"rows\({first}, {last}\).*0 <= first <= last"):
        Tied(20, ((0, 1), (2, 3))).rows(first, last)
