"""A subpopulation: the examples of a group that a trained network sees in one small cluster."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.stats.validation import as_finite

# From 10 restarts on features of 1,500 digits, k-means ends in one of six minima, as the seed has
# it, and not always in the one cluster that is smallest; from 100 restarts it ends in one minimum.
_RESTARTS = 100


def smallest_cluster(
    features: ArrayLike, among: ArrayLike, components: int = 10, clusters: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """Return those of a group that lie in the smallest of a few clusters of ALL examples.

    The features are projected on their first principal components, and k-means cuts what is left
    into clusters; of its 100 runs the tightest counts. Of clusters of one size the first counts.
    Where two are nearly of one size, another network's features may make the other the smallest.

    Args:
        features: of all examples, finite, [examples, features], such as `penultimate_features`.
        among: the group, such as the under-represented examples; bool [examples].
        components: that the features are projected on; all are kept where there are no more.
        clusters: at least 2.
        seed: of k-means' first centres.

    Returns:
        Indices of examples, ascending, int64; EMPTY where nobody of the group is in that cluster,
        which is an answer.

    Raises:
        ValueError: NaN or infinite features, shapes that do not fit, a group that is not bool,
            fewer than 1 component or 2 clusters, fewer distinct examples than clusters.

    Source: "Exploring Connections Between Memorization And Membership Inference", Sec. 4.1 (b),
        after M. Jagielski et al., Subpopulation Data Poisoning Attacks (2021). Restarts are not
        published; the paper's k-means is Hartigan and Wong's, this one scikit-learn's Lloyd.
    """
    values = as_finite("features", features, ndim=2).astype(np.float64)
    group = np.asarray(among)
    if group.dtype != np.bool_ or group.shape != values.shape[:1]:
        raise ValueError(
            f"among has dtype {group.dtype} and shape {list(group.shape)}, expected bool"
            f" [{len(values)}]: pass True for each of the examples of features that is in the group"
        )
    if components < 1:
        raise ValueError(f"components is {components}, expected at least 1: pass 10, as published")
    if clusters < 2:
        raise ValueError(f"clusters is {clusters}, expected at least 2: pass 5, as published")
    distinct = len({row.tobytes() for row in values})
    if distinct < clusters:
        raise ValueError(
            f"features has {distinct} distinct of {len(values)} examples, expected at least as many"
            f" as clusters, {clusters}: pass more examples or ask for fewer clusters"
        )

    from sklearn.cluster import KMeans  # a second to import: only for who asks
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    kept = min(components, *values.shape)
    projected = PCA(kept, svd_solver="full").fit_transform(values)
    k_means = KMeans(clusters, n_init=_RESTARTS, random_state=seed)
    with threadpool_limits(1):  # threads that wait for each other take 3 to 30 times as long
        cluster = k_means.fit_predict(projected)
    smallest = np.bincount(cluster, minlength=clusters).argmin()
    return np.flatnonzero(group & (cluster == smallest)).astype(np.int64)
