"""Shokri: a small network learns, from reference models' outputs, what members look like."""

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.observations import Observations, blocks
from benchsuite.attacks.targets import References, Targets, by_class, parties
from benchsuite.stats.validation import Bools, Float64s, Floats

HIDDEN = 64
VECTORS = 2_000
"""Members, and as many non-members, that the network of a class learns from, at most."""
EPOCHS = 50
_SEED = 0
_SMALLEST_DEVIATION = 1e-12  # below it, log probabilities differ by rounding


def shokri(observations: Observations, targets: Targets) -> Float64s:
    """Score the log odds that an attack network gives to "member" for each output vector.

    One network for each class, as in the paper: an output vector in, one hidden layer of 64 ReLU
    units, a softmax over member and non-member out. It learns from output vectors of the references
    on examples of that class: at most 2,000 members and as many non-members, for 50 epochs of Adam
    in batches of 200 (scikit-learn's network with a fixed seed: the same observations give the same
    scores). A score is the log odds of "member", and above 0 says so.

    The vectors are LOG probabilities, standardised by their mean and deviation, where the paper has
    probabilities: most of these are within 1e-3 of 0 or 1, where a network can hardly tell them
    apart, and a rare one, far outside what was standardised, gets odds without bound. On mixtures
    of digits the AUROC is the same within .03 with either; with probabilities, next to none of the
    most memorized members is found at a low FPR.

    The vectors are drawn without regard to the order of models and examples: they are sorted by a
    hash of their own logits, and every k-th is taken, as a uniform draw would.

    Args:
        observations: of the references, with membership and logits.
        targets: rows, a bool mask over the models, or another `Observations` with logits: then all
            rows of ``observations`` are references.

    Returns:
        Nats, float64 [targets, examples].

    Raises:
        ValueError: confidence without logits, a class of which no reference has a member, or none
            a non-member, or as `parties`.

    Source: Shokri et al. (2017), "Membership Inference Attacks Against Machine Learning Models",
        Sec. V; "Exploring Connections Between Memorization And Membership Inference", Appendix D.1
        (the size of the network).
    """
    references, attacked = parties("shokri", observations, targets, logits=True)
    keys = _keys(references)
    scores = np.empty(attacked.shape)
    for columns, inside in by_class("shokri", references):
        members = int(np.count_nonzero(inside))
        wanted = min(members, inside.size - members, VECTORS)
        drawn = [_draw(keys[:, columns], side, wanted) for side in (inside, ~inside)]
        rows, places = np.concatenate(drawn, axis=1)
        vectors = _log_softmax(references.logits[references.rows[rows], columns[places]])
        network = _Network(vectors, np.repeat([1, 0], wanted))
        for score, row in zip(scores, attacked.rows, strict=True):
            score[columns] = network.log_odds(_log_softmax(attacked.logits[row, columns]))
    return scores


class _Network:
    """An attack network, trained."""

    def __init__(self, vectors: Float64s, member: NDArray[np.int64]):
        from sklearn.neural_network import MLPClassifier  # a second to import, for this attack only

        self.mean = vectors.mean(axis=0)
        self.deviation = np.maximum(vectors.std(axis=0), _SMALLEST_DEVIATION)
        inputs = (vectors - self.mean) / self.deviation
        network = MLPClassifier((HIDDEN,), shuffle=False, random_state=_SEED)
        shuffles = np.random.default_rng(_SEED)
        for _ in range(EPOCHS):  # `fit` would warn that a fixed number of epochs does not converge
            order = shuffles.permutation(len(inputs))
            network.partial_fit(inputs[order], member[order], classes=[0, 1])
        self.weights, self.biases = network.coefs_, network.intercepts_

    def log_odds(self, vectors: Float64s) -> Float64s:
        """Of "member", [vectors]: scikit-learn's single output, before its sigmoid."""
        inputs = (vectors - self.mean) / self.deviation
        hidden = np.maximum(inputs @ self.weights[0] + self.biases[0], 0)
        odds: Float64s = (hidden @ self.weights[1] + self.biases[1])[:, 0]
        return odds


def _draw(keys: NDArray[np.uint64], side: Bools, wanted: int) -> NDArray[np.intp]:
    """Return (rows, columns) of ``wanted`` places of the side, evenly spaced in order of keys."""
    rows, columns = np.nonzero(side)
    spaced = (2 * np.arange(wanted) + 1) * len(rows) // (2 * wanted)
    chosen = np.argsort(keys[side])[spaced]
    return np.stack([rows[chosen], columns[chosen]])


def _keys(references: References) -> NDArray[np.uint64]:
    """Hash each output vector, in float32: equal ones have equal keys, others random ones."""
    logits = references.logits
    classes = logits.shape[2]
    keys = np.zeros(references.shape, dtype=np.uint64)
    factors = np.random.default_rng(_SEED).integers(2**64, size=(classes,), dtype=np.uint64)
    factors |= np.uint64(1)  # odd: no bit of a logit is lost
    for rows, columns in blocks(*references.shape, classes):
        vectors = logits[references.rows[rows], columns]
        bits = vectors.astype(np.float32, order="C", copy=False).view(np.uint32)
        block = keys[rows, columns]
        for k in range(classes):
            block += bits[..., k] * factors[k]
            block ^= block >> np.uint64(29)
    keys *= np.uint64(0x9E3779B97F4A7C15)
    keys ^= keys >> np.uint64(32)
    return keys


def _log_softmax(logits: Floats) -> Float64s:
    """Return log probabilities [vectors, classes], float64."""
    log_p = logits.astype(np.float64)
    log_p -= log_p.max(axis=-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    return log_p
