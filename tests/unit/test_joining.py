import hashlib
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from benchsuite import Privacy, Recipe, ShadowBank, Subject, train_shadows
from benchsuite.data import Dataset, sources
from benchsuite.models import mlp
from benchsuite.shadows.design import Joining, design_of
from benchsuite.shadows.execution import execution_for
from benchsuite.shadows.jobs import train_again, training_job
from benchsuite.training import logits, train

CANARIES = (3, 8, 9, 20)
DESIGN = Joining(24, CANARIES, seed=5)
seeds = st.integers(0, 2**64 - 1)


@given(seeds)
def test_each_canary_is_in_for_half_of_a_block_and_all_others_always(seed):
    rows = Joining(24, CANARIES, seed).rows(0, 128)
    assert rows.dtype == np.bool_
    for block in np.split(rows, 2):
        assert (block[:, CANARIES].sum(axis=0) == 32).all()
    assert np.delete(rows, CANARIES, axis=1).all()


def test_canaries_join_independently_of_each_other_and_of_seed_and_block():
    rows = Joining(24, CANARIES, seed=1).rows(0, 64 * 1000)[:, CANARIES].astype(float)
    sums = rows.sum(axis=1)
    assert set(sums) == {0, 1, 2, 3, 4}
    # Of independent ones a binomial of 4; a block's halves alone are fixed: 5 standard errors.
    assert np.var(sums) == pytest.approx(1, abs=5 * np.sqrt(1.5 / len(rows)))
    both = (rows[:, :, None] * rows[:, None]).mean(axis=0)[np.triu_indices(4, 1)]
    assert np.abs(both - 0.25).max() < 5 * 0.25 / np.sqrt(len(rows))
    blocks = rows.reshape(1000, 64, 4)
    assert len({block.tobytes() for block in blocks}) == 1000
    assert (rows[:64] != Joining(24, CANARIES, seed=2).rows(0, 64)[:, CANARIES]).any()


def test_a_canary_joins_the_same_models_whoever_else_is_a_canary():
    rows = Joining(24, (8, 23), seed=5).rows(0, 128)
    assert (rows[:, 8] == DESIGN.rows(0, 128)[:, 8]).all()


@given(st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted))
def test_any_range_of_models_is_a_part_of_the_whole(ends):
    first, last = ends
    assert (DESIGN.rows(first, last) == DESIGN.rows(0, 200)[first:last]).all()


def test_rows_are_those_that_banks_were_trained_on():
    # A failure means that every such bank's membership changes: raise the version in `identity`.
    packed = np.packbits(DESIGN.rows(50, 80)).tobytes()
    assert hashlib.sha256(packed).hexdigest()[:16] == "6b0a69b18a75180e"


def test_an_identity_survives_json_and_any_order_of_canaries():
    assert design_of(json.loads(json.dumps(DESIGN.identity()))) == DESIGN
    assert Joining(np.int64(24), np.array(CANARIES[::-1]), np.int64(5)) == DESIGN
    others = (replace(DESIGN, canaries=(3,)), replace(DESIGN, seed=6), replace(DESIGN, examples=25))
    keys = {json.dumps(each.identity(), sort_keys=True) for each in (DESIGN, *others)}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"canaries": ()}, "canaries is empty, expected at least one index of the pool"),
        ({"canaries": (1, 24)}, "canaries holds 24, expected indices of the pool, from 0 to 23"),
        ({"canaries": (-1,)}, "canaries holds -1, expected indices"),
        ({"canaries": (1.5,)}, r"canaries holds 1\.5, expected indices"),
        ({"canaries": (4, 2, 4)}, "canaries holds 4 twice, expected each once"),
        ({"examples": 1}, "examples is 1, expected an integer, a pool of at least 2"),
        ({"seed": -1}, "seed is -1, expected an integer from 0"),
    ],
)
def test_bad_games_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Joining(**({"examples": 24, "canaries": CANARIES} | arguments))


def test_bad_ranges_of_models_are_named():
    with pytest.raises(ValueError, match=r"rows\(5, 4\).*0 <= first <= last"):
        DESIGN.rows(5, 4)


# ---- trained ----

POOL, TEST = sources.digits()
POOL = Dataset(POOL.images[:24], POOL.labels[:24])
TEST = Dataset(TEST.images[:20], TEST.labels[:20])
RECIPE = Recipe(2, 8, learning_rate=0.2, privacy=Privacy(0.8, 0.6))
SUBJECT = Subject("game", POOL, TEST, partial(mlp, 64, 12, 10), RECIPE)


def test_a_bank_says_who_joined_and_holds_what_was_trained(tmp_path):
    bank = train_shadows(
        SUBJECT, 64, folder=tmp_path, columns=["pool.loss"], design=DESIGN, device="cpu"
    )
    assert (bank.membership == DESIGN.rows(0, 64)).all()
    assert bank.design == DESIGN
    again, inputs = train_again(bank, SUBJECT, [7, 40]), torch.tensor(POOL.inputs())
    alone = train(training_job(bank.design, SUBJECT, [40], inputs), "looped")
    for name, tensor in again[40].items():
        torch.testing.assert_close(tensor, alone[name][0], rtol=1e-3, atol=1e-4)
    said = logits(SUBJECT.model, alone, inputs, "looped")[0]
    loss = cross_entropy(said, torch.tensor(POOL.labels), reduction="none")
    np.testing.assert_allclose(bank.column("pool", "loss")[40], loss, rtol=1e-3, atol=1e-3)


def test_stack_and_loop_agree_on_subsets_of_which_only_the_members_show(tmp_path):
    bank = ShadowBank.for_subject(tmp_path, SUBJECT, DESIGN, lambda: execution_for(SUBJECT, "cpu"))
    job = training_job(bank.design, SUBJECT, range(2, 12), torch.tensor(POOL.inputs()).double())
    rows = DESIGN.rows(2, 12)
    assert job.subsets.shape == (10, 24)
    assert (job.subsets == np.where(rows, np.arange(24), -1)).all()
    assert len(set(rows.sum(axis=1))) > 1
    assert (job.expected_batch, job.steps) == (8, 2 * 3)
    dense, looped = train(job, "dense"), train(job, "looped")
    for name in looped:
        torch.testing.assert_close(dense[name], looped[name], rtol=1e-6, atol=1e-6)


def test_a_recipe_without_privacy_is_refused_before_anything_is_written(tmp_path):
    plain = replace(SUBJECT, recipe=replace(RECIPE, privacy=None))
    with pytest.raises(ValueError, match=r"design is Joining, .* recipe of game has privacy=None"):
        train_shadows(plain, 64, folder=tmp_path / "banks", design=DESIGN, device="cpu")
    assert not (tmp_path / "banks").exists()
