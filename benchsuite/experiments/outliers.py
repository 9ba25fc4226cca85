"""What explains exposure: being an outlier, or being memorized.

From the membership paper's Appendices A and E. Scores of being out of distribution are those of
models that were not trained on the example, the references' mean over its OUT models: a detector
that has seen an example calls it familiar. Memorization that something is compared with comes from
the references too, so that both are predictors from the same models; what they predict, the privacy
score and memorization itself, comes from the other models, in units of at least `UNIT` of them.

Controls:

- ``planted-singletons``: mislabelled examples stand in for the outliers, in models of their own.
- ``shuffled-memorization``: memorization is dealt to other examples, `DEALS` times a unit.
- ``independent-memorization``: memorization on other models stands in for the detectors' scores.
- ``random-removal``: other random examples of the pool are removed instead of the singletons.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.attacks.privacy import privacy_score
from benchsuite.data.dataset import Dataset
from benchsuite.data.mixtures import UNDER
from benchsuite.experiments.attack_bank import OOD, SINGLETONS, AttackBank, Floats, Indices
from benchsuite.experiments.groups import SMALLEST_BIN
from benchsuite.experiments.removal import Removal
from benchsuite.outliers import energy_score, msp_score
from benchsuite.shadows import ShadowBank
from benchsuite.stats.ranks import spearman
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject

PLANTED, SHUFFLED = "planted-singletons", "shuffled-memorization"
INDEPENDENT, RANDOM_REMOVAL = "independent-memorization", "random-removal"
UNIT = 128
DEALS = 50
NOT_EXPOSED = 1.0
"""Privacy score below which an outlier is called not exposed; the paper looks at `PAPERS`."""
PAPERS = 2.0
MISLABELLED = 40
LEARNED = 0.1
"""Part of the way from chance to 1 that a group's test accuracy must go for removals to matter."""

DETECTORS: dict[str, Callable[[Any], Floats]] = {"MSP": msp_score, "energy": energy_score}


class OutlierExperiment(AttackBank):
    """Outliers and singletons of one subject's pool."""

    controls: ClassVar[Mapping[str, str]] = {
        PLANTED: "Mislabelled examples stand in for the outliers.",
        SHUFFLED: "Memorization is dealt to random examples.",
        INDEPENDENT: "Memorization on other models stands in for the detectors' scores.",
        RANDOM_REMOVAL: "As many random examples are removed instead of the singletons.",
    }

    def units(self, models: slice) -> Iterator[slice]:
        """Disjoint parts of at least `UNIT` models."""
        return self.blocks(models, self.block * -(-UNIT // self.block))

    @property
    def others(self) -> slice:
        """The models that are no references."""
        return slice(self.references.stop, self.targets.stop)

    # ---- exposed or not --------------------------------------------------------------------------

    def exposure(self) -> Iterator[dict[str, float]]:
        """Of each unit of all models: which share of the outliers is exposed, and which not.

        Nothing is chosen or attacked here, so that all models count.
        """
        outliers = self.members(OOD)
        if self.control == PLANTED:
            subject, planted = with_mislabelled(self.subject, MISLABELLED)
            bank = self.workshop.bank(subject, self.block * self.size.planted)
            confidence, membership = bank.column("pool", "confidence"), bank.membership
            outliers, models = planted, slice(0, bank.models)
        else:
            confidence, membership = self.observations.confidence, self.membership
            models = slice(0, self.targets.stop)
        for unit in self.units(models):
            scores = privacy_score(confidence[unit][:, outliers], membership[unit][:, outliers])
            yield {
                "not exposed": float(np.mean(scores < NOT_EXPOSED)),
                "exposed": float(np.mean(scores >= NOT_EXPOSED)),
                f"below the paper's {PAPERS:g}": float(np.mean(scores < PAPERS)),
            }

    # ---- rank correlations -----------------------------------------------------------------------

    @property
    def detected(self) -> Mapping[str, Floats]:
        """Scores of being out of distribution by OUT references, by detector, [examples]."""
        return self.once("detected", lambda: {name: self.detected_by(name) for name in DETECTORS})

    def detected_by(self, detector: str) -> Floats:
        """One detector's scores, the mean over the OUT references of each example."""
        logits = self.observations.logits
        assert logits is not None
        total = np.zeros(self.membership.shape[1])
        for model in range(self.references.stop):
            total += np.where(self.membership[model], 0, DETECTORS[detector](logits[model]))
        return np.asarray(total / (~self.membership[self.references]).sum(axis=0))

    @property
    def memorized(self) -> Indices:
        """Examples of which the references memorize anything.

        Raises:
            CannotResolveError: fewer than 15.
        """
        members = np.flatnonzero(self.memorization > 0)
        if len(members) < SMALLEST_BIN:
            raise CannotResolveError(
                f"{len(members)} examples have memorization above 0, of {SMALLEST_BIN} needed: "
                "there is nothing to rank"
            )
        return members

    def prediction(self) -> Iterator[dict[str, float]]:
        """Of each unit: how much better memorization ranks privacy scores than detectors do.

        The difference of Spearman's correlations with the unit's privacy scores, on the memorized
        examples; reported beside it that over all examples, most of which have memorization 0, and
        the correlation of memorization itself.
        """
        everyone = np.arange(len(self.memorization))
        for number, unit in enumerate(self.units(self.others)):
            exposure = privacy_score(self.observations.confidence[unit], self.membership[unit])
            own = self._correlation(exposure, self.memorized, number)
            every = self._correlation(exposure, everyone, number)
            yield {
                **{f"less {name}": own - self._rank(name, exposure) for name in DETECTORS},
                **{
                    f"less {name}, all examples": every - self._rank(name, exposure, everyone)
                    for name in DETECTORS
                },
                "memorization itself": own,
            }

    def proxies(self) -> Iterator[dict[str, float]]:
        """Of each unit: how well detectors rank memorization there, and memorization itself does.

        Absolute values of Spearman's correlation on the memorized examples; "again" is that of
        memorization on the references, and "again less ..." how far a detector is behind.
        """
        for unit in self.units(self.others):
            truth = self.memorization_of(unit)
            again = spearman(self.memorization[self.memorized], truth[self.memorized])
            ranks = {name: abs(self._rank(name, truth)) for name in DETECTORS}
            if self.control == INDEPENDENT:
                ranks = dict.fromkeys(ranks, again)
            behind = {f"again less {name}": again - rank for name, rank in ranks.items()}
            yield {**ranks, "again": again, **behind}

    def _rank(self, detector: str, truth: Floats, examples: Indices | None = None) -> float:
        chosen = self.memorized if examples is None else examples
        return spearman(self.detected[detector][chosen], truth[chosen])

    def _correlation(self, truth: Floats, examples: Indices, number: int) -> float:
        """Of memorization on the references; under its control the mean over deals."""
        memorization = self.memorization[examples]
        if self.control != SHUFFLED:
            return spearman(memorization, truth[examples])
        rng = np.random.default_rng([self.bank.design.seed, 62, number])
        deals = [spearman(rng.permutation(memorization), truth[examples]) for _ in range(DEALS)]
        return float(np.mean(deals))

    # ---- removal ---------------------------------------------------------------------------------

    def removal(self) -> Iterator[dict[str, float]]:
        """Of each block: error on the under-represented test examples without the singletons.

        Less that of models without as many random examples of the pool, which are as few. Test
        examples are no model's training examples, so that the singletons do not raise the error by
        being no longer fitted. Reported beside it, less the same: "other outliers", without as many
        random under-represented examples that are no singletons, where there are so many; and
        "nothing", with the whole pool.

        Raises:
            CannotResolveError: too few singletons, no under-represented test examples, or so few of
                them right that removing anything can hardly hurt.
        """
        singletons = self._removable(self.members(SINGLETONS))
        whole = self._errors(self.bank)[self.targets][: self.block * self.size.removal]
        self._check_learned(1 - float(whole.mean()))
        others, count = np.setdiff1d(self.members(OOD), self.members(SINGLETONS)), len(singletons)
        rng = np.random.default_rng([self.bank.design.seed, 63])
        pool = len(self.subject.pool)
        random, again = (rng.choice(pool, count, replace=False) for _ in range(2))
        removed = {"singletons": again if self.control == RANDOM_REMOVAL else singletons}
        if len(others) >= count and not self.control:
            removed["other outliers"] = rng.choice(others, count, replace=False)
        baseline = self._errors(self._without("random", random))
        errors = {name: self._errors(self._without(name, each)) for name, each in removed.items()}
        errors["nothing"] = whole
        for block in self.blocks(slice(0, len(baseline))):
            yield {
                name: float(each[block].mean() - baseline[block].mean())
                for name, each in errors.items()
            }

    def _removable(self, singletons: Indices) -> Indices:
        """The most memorized of them, so many that the share of what is left is a whole number."""
        parts = Fraction(self.subject.share).limit_denominator(100).denominator
        count = len(singletons) - (len(singletons) - len(self.subject.pool)) % parts
        if count <= 0:
            raise CannotResolveError(
                f"{len(singletons)} singletons are too few to remove: a share of "
                f"{self.subject.share:g} of the rest has to be a whole number"
            )
        order = np.argsort(-self.memorization[singletons], kind="stable")
        return np.sort(singletons[order[:count]])

    def _without(self, why: str, examples: Indices) -> ShadowBank:
        why = "more-random" if self.control == RANDOM_REMOVAL and why != "random" else why
        removed = Removal(self.subject.pool, why.replace(" ", "-"), examples)
        return self.workshop.bank(removed.without(self.subject), self.block * self.size.removal)

    def _errors(self, bank: ShadowBank) -> Floats:
        """Share of the under-represented test examples that each model gets wrong, [models]."""
        group = self.subject.test.groups == UNDER
        if not group.any():
            raise CannotResolveError(
                f"the test set of {self.subject.name} has no example in the group {UNDER!r}: there "
                "is nothing to measure an error on"
            )
        errors: Floats = 1 - bank.column("test", "correct")[:, group].mean(axis=1)
        return errors

    def _check_learned(self, accuracy: float) -> None:
        chance = 1 / self.subject.pool.classes
        least = chance + LEARNED * (1 - chance)
        if accuracy < least and not self.subject.name.endswith("-miniature"):
            raise CannotResolveError(
                f"{accuracy:.1%} of the under-represented test examples are right, and {least:.0%} "
                f"are the least where chance is {chance:.0%}: what is hardly learned cannot be hurt"
            )

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of a figure of this kind, or None where this subject has none."""
        from benchsuite.experiments.outlier_figures import ARRAYS  # it imports this module

        try:
            return ARRAYS[kind](self)
        except CannotResolveError:
            return None


def with_mislabelled(subject: Subject, count: int, draw: int = 0) -> tuple[Subject, Indices]:
    """The subject with wrong labels on some of its examples that are no outliers, and which.

    Another `draw` mislabels others.

    Raises:
        CannotResolveError: fewer than twice as many examples to choose from.
    """
    pool = subject.pool
    ordinary = np.flatnonzero(pool.groups != UNDER)
    if len(ordinary) < 2 * count:
        raise CannotResolveError(f"{len(ordinary)} examples are too few to mislabel {count} of")
    rng = np.random.default_rng([64, draw] if draw else 64)
    planted = np.sort(rng.choice(ordinary, count, replace=False))
    labels: NDArray[np.int64] = pool.labels.copy()
    labels[planted] = (labels[planted] + rng.integers(1, pool.classes, count)) % pool.classes
    wrong = Dataset(pool.images, labels, pool.groups, name=pool.name)
    return replace(subject, name=f"{subject.name}-mislabelled", pool=wrong), planted
