import hashlib
import itertools

import numpy as np
import torch

from benchsuite.training.randomness import (
    Purpose,
    epoch_augmentations,
    epoch_orders,
    generator,
    torch_seed,
)


def places(models, examples):
    return np.tile(np.arange(examples), (models, 1))


def test_every_part_of_the_key_counts():
    seen = {
        generator(*key).bytes(32)
        for key in itertools.product((0, 1, 2**64 - 1), (0, 1, 1000), Purpose, (0, 1, 50))
    }
    assert len(seen) == 3 * 3 * len(Purpose) * 3


def test_streams_of_one_key_do_not_overlap():
    # A long draw of one epoch must not run into the next epoch's stream.
    long = generator(0, 0, Purpose.ORDER, 0).integers(2**63, size=100_000)
    for epoch in (1, 2, 3):
        start = generator(0, 0, Purpose.ORDER, epoch).integers(2**63, size=4)
        assert not np.isin(start, long).any()


def test_draws_are_those_that_banks_were_trained_with():
    # A failure means that every bank's models change: raise training.SEMANTICS.
    assert torch_seed(7, 3, Purpose.WEIGHTS) == 1922772348266049152
    orders = epoch_orders(7, [3, 4], 5, places(2, 100))
    shifts, flips = epoch_augmentations(7, [3, 4], 5, 100, 2)
    digest = hashlib.sha256()
    for draw in (orders, shifts, flips):
        digest.update(np.ascontiguousarray(draw).tobytes())
    assert digest.hexdigest()[:16] == "1c3d9ee4a4f2d025"


def test_orders_are_permutations_of_their_own():
    orders = epoch_orders(0, range(6), 0, places(6, 50))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(50), (6, 1)))
    assert len({order.tobytes() for order in orders}) == 6
    np.testing.assert_array_equal(epoch_orders(0, [4, 2], 0, places(2, 50)), orders[[4, 2]])
    assert (epoch_orders(0, [4], 1, places(1, 50)) != orders[4]).any()
    alone = generator(0, 3, Purpose.ORDER, 0).permuted(np.arange(50))
    np.testing.assert_array_equal(orders[3], alone)
    assert (epoch_orders(1, [4], 0, places(1, 50)) != orders[4]).any()


def test_shifts_and_flips_are_uniform():
    shifts, flips = epoch_augmentations(0, range(20), 0, 2500, 2)
    assert shifts.shape == (20, 2500, 2)
    values, counts = np.unique(shifts, return_counts=True)
    assert list(values) == [-2, -1, 0, 1, 2]
    np.testing.assert_allclose(counts / shifts.size, 0.2, atol=0.01)
    assert abs(flips.mean() - 0.5) < 0.01
    again, _ = epoch_augmentations(0, [7], 0, 2500, 2)
    np.testing.assert_array_equal(again[0], shifts[7])


def test_no_global_generator_is_touched():
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    epoch_orders(0, [0, 1], 0, places(2, 10))
    epoch_augmentations(0, [0, 1], 0, 10, 1)
    torch_seed(0, 0, Purpose.LAYERS)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
