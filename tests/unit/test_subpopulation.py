import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from benchsuite.outliers import smallest_cluster

SIZES = (90, 40, 60, 15, 70)  # of five clouds: the fourth is the smallest


def clouds(sizes=SIZES, dimensions=30, seed=0):
    """Well separated clouds in shuffled order, and the cloud of each example."""
    rng = np.random.default_rng(seed)
    centres = 10 * rng.normal(size=(len(sizes), dimensions))
    cloud = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return centres[cloud] + rng.normal(size=(len(cloud), dimensions)), cloud


def everybody(features):
    return np.ones(len(features), bool)


def test_the_smallest_cloud_is_found():
    features, cloud = clouds()
    found = smallest_cluster(features, everybody(features))
    np.testing.assert_array_equal(found, np.flatnonzero(cloud == 3))
    assert found.dtype == np.int64


@pytest.mark.parametrize("seed", range(3))
def test_of_a_group_only_its_members_in_that_cluster_are_returned(seed):
    features, cloud = clouds(seed=seed)
    group = np.random.default_rng(seed).random(len(cloud)) < 0.4
    found = smallest_cluster(features, group, seed=seed)
    np.testing.assert_array_equal(found, np.flatnonzero(group & (cloud == 3)))
    assert 0 < len(found) < 15


def test_the_group_does_not_choose_the_cluster():
    # Cloud 1 has fewest of the group, but all examples count: it is cloud 3 that is small.
    features, cloud = clouds()
    group = (cloud == 3) | (np.cumsum(cloud == 1) * (cloud == 1) == 1)
    assert group[cloud == 1].sum() == 1
    np.testing.assert_array_equal(smallest_cluster(features, group), np.flatnonzero(cloud == 3))


def test_nobody_of_the_group_in_that_cluster_is_an_answer():
    features, cloud = clouds()
    for group in (cloud != 3, np.zeros(len(cloud), bool)):
        found = smallest_cluster(features, group)
        assert found.shape == (0,)
        assert found.dtype == np.int64


def test_the_answer_is_the_same_again_and_for_other_seeds_of_separated_clouds():
    features, _ = clouds()
    answers = [smallest_cluster(features, everybody(features), seed=s) for s in (0, 0, 1, 2, 3)]
    for other in answers[1:]:
        np.testing.assert_array_equal(other, answers[0])


def test_order_position_direction_and_size_of_the_features_do_not_matter():
    features, _ = clouds()
    found = smallest_cluster(features, everybody(features))
    rng = np.random.default_rng(5)
    turn = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    np.testing.assert_array_equal(
        smallest_cluster(7 * features @ turn + 100, everybody(features)), found
    )
    order = rng.permutation(len(features))
    np.testing.assert_array_equal(
        np.sort(order[smallest_cluster(features[order], everybody(features))]), found
    )


def test_only_the_first_components_count():
    # Clusters 1 to 4 lie apart in a direction of large variance. The fifth differs from the fourth
    # in a direction of small variance, which one component does not keep: then four remain.
    rng = np.random.default_rng(0)
    cloud = np.repeat(np.arange(5), (50, 40, 30, 20, 4))
    features = rng.normal(scale=0.01, size=(len(cloud), 2))
    features[:, 0] += np.array([0.0, 100, 200, 300, 300])[cloud]
    features[:, 1] += np.array([0.0, 0, 0, 0, 10])[cloud]
    both = smallest_cluster(features, everybody(features), components=2)
    np.testing.assert_array_equal(both, np.flatnonzero(cloud == 4))
    first = smallest_cluster(features, everybody(features), components=1, clusters=4)
    np.testing.assert_array_equal(first, np.flatnonzero(cloud >= 3))


@pytest.mark.parametrize("dimensions", [1, 2, 10, 11])
def test_all_features_are_kept_where_there_are_no_more_than_components(dimensions):
    sizes = (20, 20, 20, 20, 6)
    features, cloud = clouds(sizes, dimensions, seed=3)
    features += 100 * cloud[:, None]  # apart in one dimension too
    found = smallest_cluster(features, everybody(features))
    np.testing.assert_array_equal(found, np.flatnonzero(cloud == 4))


def test_fewer_examples_than_components_are_enough():
    features = np.diag([10.0, 20, 30, 40, 50, 60])[:, :, None].repeat(3, axis=2).reshape(6, 18)
    features[5] = features[4] + 0.1
    assert len(smallest_cluster(features, everybody(features))) == 1


def test_seeds_agree_where_those_of_ten_restarts_do_not():
    digits = load_digits().data[:300]
    projected = PCA(10).fit_transform(digits)
    with threadpool_limits(1):
        runs = [KMeans(5, n_init=10, random_state=s).fit_predict(projected) for s in range(8)]
    smallest = [np.flatnonzero(run == np.bincount(run).argmin()) for run in runs]
    assert len({tuple(each) for each in smallest}) > 2
    answers = {tuple(smallest_cluster(digits, everybody(digits), seed=s)) for s in range(8)}
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros(20)}, r"features has shape \[20\], expected 2 axes"),
        ({"features": np.full((20, 3), np.nan)}, "features must be finite"),
        (
            {"among": np.ones(19, bool)},
            r"among has dtype bool and shape \[19\], expected bool \[20",
        ),
        ({"among": np.arange(20)}, "among has dtype int64"),
        ({"among": np.ones((20, 1), bool)}, r"shape \[20, 1\], expected bool \[20\]"),
        ({"components": 0}, "components is 0, expected at least 1"),
        ({"clusters": 1}, "clusters is 1, expected at least 2"),
        ({"clusters": 21}, "features has 20 distinct of 20 examples, .* as clusters, 21"),
        ({"features": np.eye(4)[np.arange(20) % 4]}, "features has 4 distinct of 20 examples"),
        ({"features": np.ones((20, 3))}, "features has 1 distinct of 20 examples"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    arguments = {
        "features": np.random.default_rng(0).normal(size=(20, 12)),
        "among": np.ones(20, bool),
    }
    with pytest.raises(ValueError, match=message):
        smallest_cluster(**(arguments | change))
