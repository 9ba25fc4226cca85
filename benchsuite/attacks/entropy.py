"""Song & Mittal: the modified prediction entropy against a threshold for each class."""

import numpy as np

from benchsuite.attacks.observations import Labels, Observations, blocks
from benchsuite.attacks.targets import Attacked, Targets, by_class, parties
from benchsuite.attacks.thresholds import best_cuts
from benchsuite.stats.validation import Float64s, Floats

_TINY = np.finfo(np.float64).tiny


def song_mittal(observations: Observations, targets: Targets) -> Float64s:
    """Score how far each example's modified entropy lies below the threshold of its class.

    Mentr = -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i), which is 0 where the model is
    sure of the label y and grows without bound where it is sure of another class.
    score(x) = tau(class of x) - Mentr(x), with tau the value that best separates, over all examples
    of that class and all references, members from non-members: the largest balanced accuracy,
    midway between neighbouring values. A score above 0 says "member".

    Args:
        observations: of the references, with membership and logits.
        targets: rows, a bool mask over the models, or another `Observations` with logits: then all
            rows of ``observations`` are references.

    Returns:
        Nats, float64 [targets, examples].

    Raises:
        ValueError: confidence without logits, a class of which no reference has a member, or none
            a non-member, or as `parties`.

    Source: Song & Mittal (2021), "Systematic Evaluation of Privacy Risks of Machine Learning
        Models", Sec. 3 (Mentr, and a threshold of it for each class).
    """
    references, attacked = parties("song_mittal", observations, targets, logits=True)
    entropy = _entropies(references)
    scores = -_entropies(attacked)
    for columns, inside in by_class("song_mittal", references):
        scores[:, columns] += best_cuts(entropy[:, columns].reshape(1, -1), inside.reshape(1, -1))
    return scores


def modified_entropy(logits: Floats, labels: Labels) -> Float64s:
    """Return the modified prediction entropy, from logits, without forming 1 - p.

    Of the most likely class m, 1 - p_m is the sum of the OTHERS; that of any other class is at
    least one half. So neither end of [0, 1] loses digits, and 1e-30 stays apart from 0. (Where m
    leads by more than 708 nats, 1 - p_m is taken as 2e-308: the entropy stays finite.)

    Args:
        logits: finite, [models, examples, classes].
        labels: class of each example [examples].

    Returns:
        At least 0, in nats, float64 [models, examples].
    """
    z = np.moveaxis(logits, -1, 0).astype(np.float64, order="C")  # long axes last: twice as fast
    likeliest = z.argmax(axis=0)[None]
    z -= np.take_along_axis(z, likeliest, axis=0)
    true = np.broadcast_to(labels, z.shape[1:])[None]
    z_true = np.take_along_axis(z, true, axis=0)[0]
    p = np.exp(z)
    np.put_along_axis(p, likeliest, 0.0, axis=0)
    others = np.maximum(p.sum(axis=0), _TINY)  # all but the likeliest, which counts 1
    total = 1 + others
    p /= total
    surprise = p * np.log1p(-p)
    rest = others / total  # 1 - p of the likeliest
    np.put_along_axis(surprise, likeliest, (np.log(rest) / total)[None], axis=0)
    p_true = np.take_along_axis(p, true, axis=0)[0]
    one_less = np.where(likeliest[0] == true[0], rest, 1 - p_true)
    np.put_along_axis(surprise, true, (one_less * (z_true - np.log1p(others)))[None], axis=0)
    return np.asarray(-surprise.sum(axis=0))


def _entropies(party: Attacked) -> Float64s:
    entropy = np.empty(party.shape)
    for rows, columns in blocks(*party.shape, party.logits.shape[2]):
        entropy[rows, columns] = modified_entropy(
            party.logits[party.rows[rows], columns], party.labels[columns]
        )
    return entropy
