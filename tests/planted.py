"""Worlds whose truth is planted: a workshop whose banks are drawn from Gaussians, not trained.

An example's number in the first pool is its group, so that a bank knows what its subject's pool
holds, whatever was taken out of it or added.
"""

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property, partial
from types import SimpleNamespace

import numpy as np

from benchsuite.data.dataset import Dataset
from benchsuite.experiments.sizes import OnionSize
from benchsuite.models import mlp
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject
from benchsuite.training import Recipe

SIZE = OnionSize(
    blocks=4, local_blocks=2, targets=4, neighbours=6, rounds=3, round_blocks=2, fpr=0.02
)


def subject(examples=100, classes=5, name="planted", seed=0, side=4):
    """A subject of small pictures, each in a group of its own."""
    images = np.random.default_rng(seed).random((examples, 1, side, side), dtype=np.float32)
    pool = Dataset(images, np.arange(examples) % classes, np.arange(examples), name)
    return Subject(
        name,
        pool,
        pool.subset(range(min(10, examples))),
        partial(mlp, side**2, 2, classes),
        Recipe(1),
    )


@cache
def _rows(design, models):
    """The same for all truths and seeds, and slow to draw."""
    return design.rows(0, models)


class Bank:
    """What a trained bank shows; confidence is a standard normal plus the truth's shift."""

    def __init__(self, subject, models, design, truth, seed):
        self.subject, self.models, self.design = subject, models, design
        self.execution = SimpleNamespace(device="cpu")
        text = f"{subject.pool.digest} {design.identity()} {seed}"
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self._seed = int(self.key[:12], 16)
        self._truth = truth

    @cached_property
    def membership(self):
        return _rows(self.design, self.models)

    @cached_property
    def _confidence(self):
        noise = np.random.default_rng(self._seed).standard_normal(
            self.membership.shape, dtype=np.float32
        )
        return noise + self._truth(self.subject.pool, self.membership).astype(np.float32)

    def column(self, probe, what):
        if (probe, what) == ("test", "correct"):
            return np.random.default_rng(self._seed).random((self.models, 50)) < 0.9
        return {"confidence": self._confidence, "correct": self._confidence > 1}[what]


@dataclass
class Workshop:
    """Draws banks of one truth: a function of a pool and memberships [models, examples]."""

    truth: object
    seed: int = 0

    def __post_init__(self):
        self.banks = {}
        self.asked = []

    def bank(self, subject, models, *, design=None):
        design = design or Balanced(len(subject.pool), subject.share)
        bank = Bank(subject, models, design, self.truth, self.seed)
        self.asked.append((subject, models, design))
        return self.banks.setdefault((bank.key, models), bank)


def experiment(kind, truth, *, examples=100, blocks=12, size=SIZE, seed=0, subject=None):
    """An experiment of this kind on worlds of this truth, with so many blocks in its base bank."""
    of = globals()["subject"](examples) if subject is None else subject
    workshop = Workshop(truth, seed)
    return kind(of, workshop.bank(of, blocks * 64), size, workshop)


# ---- truths --------------------------------------------------------------------------------------


def apart(separation):
    """Each example's IN models are so many deviations surer than its OUT models, come what may."""
    return lambda pool, membership: membership * separation[pool.groups]


@dataclass
class Onion:
    """A first layer that masks a second; the others are never told apart well.

    Every tenth example is of the first layer, and of every ten the next is of the second, whose
    separation goes from `masked` to `unmasked` as the first layer is taken out. Small separations
    differ a little, so that there is an order.
    """

    examples: int = 100
    first: float = 4.0
    masked: float = 0.8
    unmasked: float = 3.0
    rest: float = 0.1

    @property
    def layers(self):
        """Positions of the first and of the second layer."""
        return np.arange(0, self.examples, 10), np.arange(1, self.examples, 10)

    def __call__(self, pool, membership):
        first, second = self.layers
        gone = 1 - np.isin(first, pool.groups).mean()
        separation = np.full(self.examples, self.rest)
        separation[first] = self.first
        separation[second] = self.masked + (self.unmasked - self.masked) * gone**2
        return membership * separation[pool.groups]


@dataclass
class Copies:
    """Copies of one example, which have its group, are one to a model: any of them shows as IN.

    Where `each` counts, two copies IN show twice as much; then `separation` is that of one.
    """

    separation: np.ndarray
    each: bool = False

    def __call__(self, pool, membership):
        same = pool.groups[:, None] == pool.groups
        copies = membership.astype(np.float32) @ same.astype(np.float32)
        return self.separation[pool.groups] * (copies if self.each else np.minimum(copies, 1))


@dataclass
class Maskers:
    """Targets that their maskers hide: each one that is IN takes its part of the separation."""

    separation: np.ndarray
    of: dict

    def __call__(self, pool, membership):
        place = {group: position for position, group in enumerate(pool.groups.tolist())}
        shift = membership * self.separation[pool.groups]
        for target, maskers in self.of.items():
            if target in place:
                there = [place[each] for each in maskers if each in place]
                hidden = membership[:, there].sum(axis=1) / len(maskers)
                shift[:, place[target]] *= np.maximum(0, 1 - 2 * hidden)
        return shift
