import tracemalloc

import numpy as np
import pytest

from benchsuite.data import (
    PIXELS_ALIKE,
    Dataset,
    digits,
    duplicates_to_remove,
    find_duplicates,
    plant_duplicates,
    straddling,
)


def pool(n=20, dtype="float32", shape=(4, 4), seed=0):
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, size=(n, *shape)).astype(np.uint8)
    images = grey if dtype == "uint8" else (grey / 255).astype(np.float32)
    return Dataset(images, np.arange(n) % 3, np.arange(n) // 5, name="pool")


def naive_clusters(embedding, threshold):
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    parent = list(range(len(unit)))
    for i in range(len(unit)):
        for j in range(i):
            if unit[i] @ unit[j] >= threshold:
                old, new = parent[i], parent[j]
                parent = [new if p == old else p for p in parent]
    members = [[i for i in range(len(unit)) if parent[i] == p] for p in dict.fromkeys(parent)]
    return tuple(tuple(m) for m in members if len(m) > 1)


def test_copies_come_last_with_label_and_group_and_the_pool_stays():
    data, originals = pool(), [7, 3, 19, 0]
    planted = plant_duplicates(data, originals, 0.25, seed=1)
    assert len(planted) == 24
    assert planted.name == "pool"
    assert planted.subset(range(20)) == data
    np.testing.assert_array_equal(planted.labels[20:], data.labels[originals])
    np.testing.assert_array_equal(planted.groups[20:], data.groups[originals])


@pytest.mark.parametrize(("copies", "exact"), [(1, 1), (2, 1), (5, 3)])
def test_the_first_half_is_exact_and_the_second_is_not(copies, exact):
    data = pool()
    planted = plant_duplicates(data, range(copies), 0.5, seed=1)
    same = (planted.images[20:] == data.images[:copies]).all(axis=(1, 2))
    np.testing.assert_array_equal(same, np.arange(copies) < exact)


@pytest.mark.parametrize(("dtype", "step"), [("float32", 1 / 16), ("uint8", 8)])
def test_noise_moves_its_share_of_the_pixels_by_one_step_both_ways(dtype, step):
    images = np.full((40, 8, 8), 128 if dtype == "uint8" else 0.5, dtype)
    data = Dataset(images, np.arange(40) % 2)
    noisy = plant_duplicates(data, range(40), 0.1, seed=2).images[60:].astype(np.float64)
    change = noisy - images[:20]
    assert set(np.unique(change)) == {-step, 0, step}
    np.testing.assert_array_equal((change != 0).sum(axis=(1, 2)), 6)
    assert 0.3 < (change > 0).sum() / 120 < 0.7
    assert len({places.tobytes() for places in change != 0}) == 20


@pytest.mark.parametrize("value", [0, 255])
def test_noise_is_cut_at_black_and_white(value):
    data = Dataset(np.full((4, 3, 3), value, np.uint8), np.arange(4) % 2)
    noisy = plant_duplicates(data, range(4), 1, seed=0).images[6:]
    assert set(np.unique(noisy)) == {value, abs(value - 8)}  # 0 and 8, or 247 and 255


def test_copies_depend_on_the_seed_alone():
    data = pool(dtype="uint8", shape=(4, 4, 3))
    first = plant_duplicates(data, [1, 2], 0.5, seed=3)
    assert first == plant_duplicates(data, [1, 2], 0.5, seed=3)
    assert first != plant_duplicates(data, [1, 2], 0.5, seed=4)


@pytest.mark.parametrize(
    ("originals", "noise", "message"),
    [
        ([3, 20], 0.1, "originals holds 20, expected positions from 0 to 19"),
        ([-1], 0.1, "originals holds -1"),
        ([5, 2, 5], 0.1, "originals holds 5 2 times, expected each example once"),
        ([], 0.1, r"originals has dtype float64 and shape \[0\]"),
        ([0.5], 0.1, "originals has dtype float64"),
        ([1], 0, "noise is 0, expected a share"),
        ([1], 1.5, "noise is 1.5"),
        ([1], float("nan"), "noise is nan"),
    ],
)
def test_bad_plans_are_named(originals, noise, message):
    with pytest.raises(ValueError, match=message):
        plant_duplicates(pool(), originals, noise, seed=0)


def test_float_images_of_another_scale_are_refused():
    data = Dataset(np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2), np.arange(4) % 2)
    with pytest.raises(ValueError, match="images run from -1 to 1, expected float32 between 0"):
        plant_duplicates(data, [0], 0.1, seed=0)


def test_the_threshold_finds_what_is_planted_in_the_digits_and_nothing_else():
    data = digits()[0]
    originals = np.arange(0, 1500, 5)
    planted = plant_duplicates(data, originals, 0.1, seed=0)
    expected = tuple((int(o), 1500 + i) for i, o in enumerate(originals))
    assert find_duplicates(planted.inputs(), PIXELS_ALIKE) == expected
    most_alike = find_duplicates(data.inputs(), 0.9956)
    assert len(most_alike) == 1
    assert find_duplicates(data.inputs(), 0.9957) == ()


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8, 0.95])
def test_clusters_are_those_of_a_loop_over_pairs(monkeypatch, threshold):
    embedding = np.random.default_rng(1).standard_normal((60, 4))
    expected = naive_clusters(embedding, threshold)
    assert find_duplicates(embedding, threshold) == expected
    monkeypatch.setattr("benchsuite.data.duplicates._PAIRS_PER_BLOCK", 130)  # 2 rows a block
    assert find_duplicates(embedding, threshold) == expected


def test_a_chain_is_one_cluster_though_its_ends_differ():
    angles = np.radians([0, 80, 10, 200, 20])
    embedding = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert find_duplicates(embedding, np.cos(np.radians(11))) == ((0, 2, 4),)


def test_exact_copies_are_found_at_a_threshold_of_one_whatever_their_scale():
    rows = np.random.default_rng(2).standard_normal((30, 50))
    embedding = np.concatenate([rows, 1e200 * rows[:3], 1e-200 * rows[:3]])
    assert find_duplicates(embedding, 1) == ((0, 30, 33), (1, 31, 34), (2, 32, 35))
    assert find_duplicates(-embedding[:30], 1) == ()


@pytest.mark.parametrize("kind", ["all alike", "none alike"])
def test_memory_is_bounded_whatever_is_alike(kind):
    n = 6000  # a matrix of similarities alone would take 144 MB
    embedding = np.ones((n, 8), np.float32)
    if kind == "none alike":
        embedding = np.random.default_rng(0).standard_normal((n, 64)).astype(np.float32)
    find_duplicates(embedding[:10], 0.9)
    tracemalloc.start()
    try:
        clusters = find_duplicates(embedding, 0.95)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert clusters == ((tuple(range(n)),) if kind == "all alike" else ())
    assert peak < 100e6


@pytest.mark.parametrize(
    ("embedding", "threshold", "message"),
    [
        (np.array([[1.0, np.nan], [1, 1]]), 0.9, "embedding must be finite but 1 of its 4"),
        (np.array([[1.0, 1], [0, 0], [0, 0]]), 0.9, r"embedding\[1\] is all zeros, .* of 2 such"),
        (np.ones(3), 0.9, r"embedding has shape \[3\]"),
        (np.eye(3), 0, "threshold is 0, expected a cosine similarity above 0 and at most 1"),
        (np.eye(3), 1.01, "threshold is 1.01"),
        (np.eye(3), float("nan"), "threshold is nan"),
    ],
)
def test_bad_searches_are_named(embedding, threshold, message):
    with pytest.raises(ValueError, match=message):
        find_duplicates(embedding, threshold)


def test_all_but_the_first_of_each_cluster_is_removed():
    remove = duplicates_to_remove(((0, 4, 7), (2, 3)), labels=[1, 0, 2, 2, 1, 0, 0, 1])
    assert remove.tolist() == [3, 4, 7]
    assert remove.dtype == np.intp
    assert duplicates_to_remove(()).tolist() == []


def test_clusters_that_straddle_classes_are_named_and_not_resolved():
    clusters, labels = ((0, 1), (2, 5), (3, 4, 6)), [0, 0, 1, 2, 2, 0, 1]
    assert straddling(clusters, labels) == ((2, 5), (3, 4, 6))
    with pytest.raises(ValueError, match=r"examples \[2, 5\] are .* labels \[1, 0\], .* of 2 clus"):
        duplicates_to_remove(clusters, labels)
    assert duplicates_to_remove(clusters).tolist() == [1, 4, 5, 6]


def test_labels_that_do_not_reach_every_member_are_refused():
    with pytest.raises(ValueError, match=r"labels has shape \[4\] and clusters reach to example 5"):
        straddling(((0, 5),), np.zeros(4, int))
