"""A bank under attack whose truth is planted: what is memorized, what models say, the groups."""

from copy import copy
from functools import partial
from types import SimpleNamespace

import numpy as np

from benchsuite.data.dataset import Dataset
from benchsuite.data.mixtures import OVER, UNDER
from benchsuite.experiments.attack_bank import ALL, OOD, SINGLETONS, SUBPOPULATION
from benchsuite.experiments.sizes import AttackSize
from benchsuite.models import mlp
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject
from benchsuite.training import Recipe

CLASSES, SIDE = 3, 4
SIZE = AttackSize(references=2, calibration=1, targets=2, removal=1, planted=1, fpr=0.05)


def subject(over=60, under=40, name="digits-planted", of_test=(30, 20), share=0.5):
    """Small pictures of two groups, or of one where `under` is 0."""

    def data(over, under, seed):
        images = np.random.default_rng(seed).random((over + under, 1, SIDE, SIDE), dtype=np.float32)
        groups = np.array([OVER] * over + [UNDER] * under) if under else None
        return Dataset(images, np.arange(over + under) % CLASSES, groups, name)

    pool, test = data(over, under, 0), data(*of_test, 1)
    model = partial(mlp, SIDE**2, 2, CLASSES)
    return Subject(name, pool, test, model, Recipe(1), share=share)


def memorization_of(pool):
    """What is planted: 0 to .3 for the over-represented, -.05 to 1 for the others."""
    is_under = np.asarray(pool.groups) == UNDER
    planted = np.linspace(0, 0.3, len(pool))
    planted[is_under] = np.linspace(-0.05, 1, is_under.sum())
    return planted


class Bank:
    """Confidence rises with membership as much as an example is memorized."""

    def __init__(self, subject, models, seed=0, of_under=0.5):
        rng = np.random.default_rng([seed, 1])
        self.subject, self.models = subject, models
        self.design = Balanced(len(subject.pool), subject.share, seed)
        self.execution = SimpleNamespace(device="cpu")
        self.key = f"attacked {seed}"
        self.membership = self.design.rows(0, models)
        memorized = memorization_of(subject.pool)
        shape = self.membership.shape
        confidence = rng.normal(2 - 3 * memorized, 1, shape) + 5 * memorized * self.membership
        logits = np.zeros((*shape, subject.pool.classes), dtype=np.float32)
        of_label = confidence + np.log(subject.pool.classes - 1)
        np.put_along_axis(logits, subject.pool.labels[None, :, None], of_label[:, :, None], axis=-1)
        right = np.where(self.membership, 0.95, 0.95 - memorized)
        self._columns = {
            ("pool", "logits"): logits,
            ("pool", "confidence"): confidence,
            ("pool", "correct"): rng.random(shape) < right,
            ("test", "correct"): rng.random((models, len(subject.test)))
            < np.where(subject.test.groups == UNDER, of_under, 0.9),
        }

    def column(self, probe, what):
        return self._columns[probe, what]

    def but(self, rows, membership=False):
        """The same bank whose models in these rows say something else, or were IN elsewhere."""
        other = Bank(self.subject, self.models, seed=99)
        changed = copy(self)
        if membership:
            changed.membership = self.membership.copy()
            changed.membership[rows] = ~self.membership[rows]
            return changed
        changed._columns = {name: values.copy() for name, values in self._columns.items()}
        for name, values in changed._columns.items():
            values[rows] = other._columns[name][rows]
        return changed


class Workshop:
    """Trains nothing: keeps what it was asked for, and the banks of the planted kind it gave."""

    def __init__(self):
        self.asked, self.given = [], []

    def bank(self, subject, models, *, columns=()):
        self.asked.append((subject, models, tuple(columns)))
        self.given.append(Bank(subject, models, seed=len(self.asked)))
        return self.given[-1]


def experiment(kind, subject=None, size=SIZE, seed=0, bank=None, workshop=None, groups=True):
    """An experiment of this kind, with planted groups in its cache, which else train a model."""
    subject = subject or globals()["subject"]()
    block = Balanced(len(subject.pool), subject.share).block
    bank = bank or Bank(subject, size.blocks * block, seed)
    given = kind(subject, bank, size, workshop=workshop)
    if not groups:
        return given
    memorized = memorization_of(subject.pool)
    singletons = np.flatnonzero(memorized > 0.6)
    given.cache["groups"] = {ALL: np.arange(len(subject.pool)), SINGLETONS: singletons}
    if given.mixed:
        outliers = np.flatnonzero(subject.pool.groups == UNDER)
        given.cache["groups"] = {
            ALL: np.arange(len(subject.pool)),
            OOD: outliers,
            SUBPOPULATION: outliers[:9],
            SINGLETONS: singletons,
        }
    return given
