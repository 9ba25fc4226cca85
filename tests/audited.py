"""Shadow models' confidences that are drawn, so that what an audit should find is known."""

from dataclasses import dataclass

import numpy as np

from benchsuite.attacks.observations import Observations
from benchsuite.auditing.shadows import Shadows
from benchsuite.shadows.design import Balanced

HELD_OUT = 200


@dataclass(frozen=True)
class World:
    """Confidence is Gaussian: examples differ, models differ a little, some examples react.

    Args:
        seed: of the examples.
        examples: how many.
        share: of them that each model is trained on.
        shift: by how much being IN raises the confidence, in standard deviations.
        reacting: share of the examples whose confidence it raises; they come first.
        hardness: standard deviation of the examples' means.
        location: mean of the examples' means.
    """

    seed: int = 0
    examples: int = 600
    share: float = 0.5
    shift: float = 0.0
    reacting: float = 0.1
    hardness: float = 1.0
    location: float = 0.0

    @property
    def real(self):
        return np.arange(self.examples) < self.reacting * self.examples

    @property
    def means(self):
        """Of the examples and of those held out."""
        rng = np.random.default_rng([self.seed, 1])
        return rng.normal(self.location, self.hardness, self.examples + HELD_OUT)

    def say(self, membership, seed, off=0.0, spread=1.0):
        """What models with this membership say of the examples, and of those held out."""
        rng = np.random.default_rng([seed, 2])
        models = len(membership)
        noise = spread * rng.normal(size=(models, self.examples + HELD_OUT))
        said = self.means + noise + rng.normal(off, 0.3, (models, 1))
        said[:, : self.examples] += self.shift * self.real * membership
        return said[:, : self.examples], said[:, self.examples :]

    def shadows(self, models=64, seed=0, membership=None, ids=None):
        if membership is None:
            membership = Balanced(self.examples, self.share, seed).rows(0, models)
        said, held_out = self.say(membership, seed)
        return Shadows(
            "drawn",
            observed(said, membership),
            np.arange(self.examples) if ids is None else ids,
            held_out=observed(held_out),
        )

    def target(self, members, seed, **how):
        """A further model: what it says of the examples, and of those held out."""
        said, held_out = self.say(np.asarray(members)[None], 10_000 + seed, **how)
        return observed(said), observed(held_out)


def observed(confidence, membership=None):
    labels = np.zeros(confidence.shape[1], dtype=int)
    return Observations(labels=labels, confidence=confidence, membership=membership)


def in_pairs(models, examples, seed=0):
    """Membership of models on complementary halves, in a random order."""
    rng = np.random.default_rng(seed)
    half = rng.random((models // 2, examples)) < 0.5
    return rng.permutation(np.concatenate([half, ~half]))
