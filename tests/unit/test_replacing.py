import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.shadows.design import Replacing, design_of

GROUPS = (((0, 10), (1, 11), (2, 12)), ((3, 13), (4, 14), (5, 15)))
DESIGN = Replacing(16, GROUPS, seed=3)


@given(st.integers(0, 2**64 - 1))
def test_each_copy_is_in_once_a_block_where_its_original_is_out(seed):
    rows = Replacing(16, GROUPS, seed).rows(0, 12)
    assert (rows.sum(axis=1) == 10).all()
    for group in GROUPS:
        for original, copy in group:
            assert (rows[:, original] == ~rows[:, copy]).all()
            assert rows[:6, copy].sum() == rows[6:, copy].sum() == 1
        assert rows[:, [copy for _, copy in group]].sum(axis=1).max() == 1
    assert rows[:, 6:10].all()


def test_groups_are_shuffled_independently():
    of_first, of_second = (Replacing(16, GROUPS, seed=9).present(0, 60_000).T >= 0).astype(float)
    assert of_first.mean() == of_second.mean() == 0.5
    # Given a group's sum in its block, two cells of a row are independent: 5 standard errors.
    assert abs(np.mean(of_first * of_second) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 60_000)


def test_present_tells_which_copy_a_row_holds():
    rows, which = DESIGN.rows(0, 18), DESIGN.present(0, 18)
    for row, of_row in zip(rows, which, strict=True):
        for group, pair in zip(GROUPS, of_row, strict=True):
            assert [copy for _, copy in group if row[copy]] == (
                [group[pair][1]] if pair >= 0 else []
            )


@given(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted))
def test_any_range_of_models_is_a_part_of_the_whole(ends):
    first, last = ends
    assert (DESIGN.rows(first, last) == DESIGN.rows(0, 40)[first:last]).all()


def test_without_groups_all_train_on_the_whole_pool():
    assert Replacing(5).rows(0, 12).all()


def test_an_identity_survives_json():
    assert design_of(json.loads(json.dumps(DESIGN.identity()))) == DESIGN


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[(0, 1)], [(2, 3), (4, 5)]], "1 and 2 pairs"),
        ([[(0, 1, 2)]], "pairs"),
        ([[]], "pairs"),
        ([[(0, 16)]], "holds? 16"),
        ([[(0, -1)]], "holds? -1"),
        ([[(0, 0)]], "0 twice"),
        ([[(0, 10)], [(0, 11)]], "0 twice"),
    ],
)
def test_bad_groups_are_named(groups, message):
    with pytest.raises(ValueError, match=message):
        Replacing(16, groups)
