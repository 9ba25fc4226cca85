import numpy as np
import pytest

from benchsuite.experiments.groups import Groups
from benchsuite.stats.verdict import CannotResolveError

MIDDLES = {0.05: 40, 0.2: 20, 0.4: 20, 0.6: 20, 0.9: 20}


def grouped(**counts):
    """Groups with so many examples in the middle of each bin, `of_20=3` being 3 of mem .20."""
    wanted = {**MIDDLES, **{int(name[3:]) / 100: count for name, count in counts.items()}}
    values = np.concatenate([np.full(count, mem) for mem, count in wanted.items()])
    return Groups(np.random.default_rng(0).permutation(values))


def ranges(groups):
    """Least and largest memorization of each bin, and how many are in it."""
    mem = groups.memorization
    return {n: (mem[m].min(), mem[m].max(), len(m)) for n, m in groups.bins.items()}


def test_bins_are_named_from_least_to_most_memorized():
    found = ranges(grouped())
    assert list(found) == ["mem .1-.25", "mem .25-.5", "mem .5-.7", "top"]
    assert list(found.values()) == [(m, m, 20) for m in (0.2, 0.4, 0.6, 0.9)]


def test_edges_belong_to_the_bin_below():
    mem = np.repeat([0.1, 0.25, 0.5, 0.7, 1.0], 15)
    found = ranges(Groups(mem))
    assert list(found.values()) == [(e, e, 15) for e in (0.25, 0.5, 0.7, 1.0)]


def test_fourteen_merge_downward_and_fifteen_do_not():
    assert ranges(grouped(of_60=15))["mem .5-.7"] == (0.6, 0.6, 15)
    found = ranges(grouped(of_60=14))
    assert list(found) == ["mem .1-.25", "mem .25-.7", "top"]
    assert found["mem .25-.7"] == (0.4, 0.6, 34)


def test_a_small_top_bin_reaches_down_as_far_as_it_must():
    assert ranges(grouped(of_90=14))["top"] == (0.6, 0.9, 34)
    found = ranges(grouped(of_90=5, of_60=5, of_40=4))
    assert found == {"top": (0.2, 0.9, 34)}


def test_the_least_bin_is_left_out_where_it_is_too_small():
    assert list(ranges(grouped(of_20=14))) == ["mem .25-.5", "mem .5-.7", "top"]


def test_bins_are_disjoint_and_hold_nothing_below_the_lowest_edge():
    rng = np.random.default_rng(1)
    for _ in range(50):
        mem = rng.beta(0.3, rng.uniform(0.3, 3), 200)
        members = np.concatenate(list(Groups(mem).bins.values()))
        assert len(members) == len(set(members))
        assert (mem[members] > 0.1).all()
        assert all(len(m) >= 15 for m in Groups(mem).bins.values())


def test_without_enough_examples_there_is_no_answer():
    with pytest.raises(CannotResolveError, match=r"14 examples have memorization above 0\.1"):
        _ = grouped(of_20=14, of_40=0, of_60=0, of_90=0).bins


def test_groups_above_a_threshold():
    groups = Groups(np.array([0.5, 0.51, 0.2, 0.9]))
    np.testing.assert_array_equal(groups.highly_memorized, [1, 3])
    np.testing.assert_array_equal(groups.above(0.1), [0, 1, 2, 3])
    with pytest.raises(CannotResolveError, match=r"1 examples have memorization above 0\.6"):
        groups.above(0.6)
