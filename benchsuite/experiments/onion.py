"""The privacy onion: what becomes of the rest once the most exposed examples are taken out.

From "The Privacy Onion Effect: Memorization is Relative". One base bank is split: its first models
choose what is removed (`selection`), the others are what the removal is compared with (`base`).
Every retrained world has as many models as `base`, so that all attackers know equally much, and a
unit of replication is one block of models of each world that a number compares.

Controls break the one thing a finding is about:

- ``random-layer``: as many random examples stand in for the most exposed ones.
- ``permuted``: one half's advantages are dealt to other examples.
- ``exposed-layer``: the exposed layer stands in for the examples that should not matter.
- ``layer-put-back``: the layer itself stands in for the foreign outliers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.outliers import foreign_outliers
from benchsuite.experiments.removal import Removal
from benchsuite.experiments.sizes import OnionSize
from benchsuite.experiments.world import World
from benchsuite.memorization.label import label_memorization
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Design, Lacking
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop

RANDOM, PERMUTED = "random-layer", "permuted"
EXPOSED_LAYER, PUT_BACK = "exposed-layer", "layer-put-back"
LAYER = 0.1
"""Share of the pool that a layer is: the paper's 5,000 of 50,000."""
RELIABLE_AT = 1024
"""Models that a correlation of advantages is stated for."""
SAFE, EXPOSED = 0.1, 0.3
"""Advantage up to which an audit calls an example safe, and from which it calls it exposed."""
WORST = 0.01
"""Share of the examples whose risk rises most that is called the worst case."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class OnionWorlds:
    """The worlds of one subject with and without some examples, each trained once.

    Args:
        subject: whose pool is peeled.
        bank: of the whole pool.
        size: of the worlds.
        workshop: trains what lacks.
        control: see above; "" for the experiment as it is.
        cache: what was computed, shared by all arms.
    """

    subject: Subject
    bank: ShadowBank
    size: OnionSize
    workshop: Workshop
    control: str = ""
    cache: dict[Any, Any] = field(default_factory=dict)

    controls: ClassVar[Mapping[str, str]] = {
        RANDOM: "As many random examples are removed instead.",
        PERMUTED: "Advantage is dealt to other examples in one of the halves.",
        EXPOSED_LAYER: "The most exposed examples are removed instead.",
        PUT_BACK: "The layer itself is put back instead of foreign outliers.",
    }

    def __post_init__(self) -> None:
        if self.control and self.control not in self.controls:
            raise ValueError(
                f"control={self.control!r} is unknown: use one of {', '.join(self.controls)}"
            )

    def under(self, control: str) -> Self:
        """The same experiment with one thing broken."""
        return replace(self, control=control)

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of a figure of this kind, or None where this subject or sample has none.

        Raises:
            KeyError: an unknown kind.
        """
        # Imported late: they draw on the experiments that are defined here.
        from benchsuite.experiments import onion_figures, onion_pictures

        arrays = {**onion_figures.ARRAYS, **onion_pictures.ARRAYS}[kind]
        try:
            return arrays(self)
        except CannotResolveError:
            return None

    # ---- worlds -------------------------------------------------------------------------------

    @property
    def models(self) -> int:
        """In each retrained world and in `base`: as declared, or half of a smaller bank."""
        blocks = min(self.size.blocks, self.bank.models // self.bank.design.block // 2)
        return self.bank.design.block * blocks

    @property
    def local_models(self) -> int:
        """In each world that lacks one target's neighbours: as declared, or as many as `base`."""
        return min(self.bank.design.block * self.size.local_blocks, self.models)

    @property
    def selection(self) -> World:
        """Models of the whole pool that choose examples; never among those that are measured."""
        return self.whole(slice(0, self.bank.models - self.models))

    @property
    def base(self) -> World:
        """Models of the whole pool that others are compared with."""
        return self.whole(slice(self.bank.models - self.models, self.bank.models))

    def whole(self, rows: slice) -> World:
        """The world of some models of the whole pool."""
        everything = np.arange(len(self.subject.pool))
        key = ("base", rows.start, rows.stop)
        world: World = self.once(key, lambda: World.of(self.bank, everything, rows))
        return world

    def without(self, removal: Removal, models: int | None = None) -> World:
        """The world of models trained without these examples."""
        return self.world(removal.without(self.subject), removal.kept, models)

    def world(
        self,
        subject: Subject,
        examples: Indices,
        models: int | None = None,
        design: Design | None = None,
    ) -> World:
        """The world of another subject, whose examples lie there in the first pool.

        Raises:
            CannotResolveError: its models are trained on another share than half of their pool.
        """
        _check_half(subject)
        bank = self.workshop.bank(subject, models or self.models, design=design)
        key = ("world", bank.key, bank.models, examples.tobytes())
        world: World = self.once(key, lambda: World.of(bank, examples))
        return world

    def worlds(
        self, subject: Subject, why: str, removals: Mapping[int, Removal], models: int
    ) -> dict[int, World]:
        """By target, models of the subject that lack what is removed for it; all in one bank.

        Args:
            subject: whose pool the removals are of.
            why: a word for the bank's name.
            removals: by target.
            models: in each world.

        Raises:
            CannotResolveError: as `world`.
        """
        _check_half(subject)
        named = replace(subject, name=f"{subject.name}-without-{why}")
        design = Lacking(
            len(subject.pool),
            tuple(removal.examples for removal in removals.values()),
            subject.share,
            self.bank.design.seed,
        )
        bank = self.workshop.bank(named, models * len(removals), design=design)

        def compute() -> dict[int, World]:
            return {
                target: World.of(
                    bank, removal.kept, design.models_of(part, bank.models), design.kept(part)
                )
                for part, (target, removal) in enumerate(removals.items())
            }

        worlds: dict[int, World] = self.once(("worlds", bank.key, bank.models), compute)
        return worlds

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, computed once for all arms."""
        if key not in self.cache:
            self.cache[key] = compute()
        return self.cache[key]

    # ---- layers -------------------------------------------------------------------------------

    def layer_size(self) -> int:
        """Examples in a layer; what stays must be balanced, so it is a multiple of 2."""
        return 2 * round(len(self.subject.pool) * LAYER / 2)

    @property
    def exposed(self) -> Removal:
        """The layer of examples with the highest advantage in `selection`."""
        return Removal(
            self.subject.pool, "exposed", most(self.selection.advantage, self.layer_size())
        )

    @property
    def safest(self) -> Removal:
        """As many examples with the lowest advantage."""
        return Removal(
            self.subject.pool, "safest", most(-self.selection.advantage, self.layer_size())
        )

    @property
    def random(self) -> Removal:
        """As many random examples."""
        drawn = self.generator(1).choice(len(self.subject.pool), self.layer_size(), replace=False)
        return Removal(self.subject.pool, "random", drawn)

    @property
    def layer(self) -> Removal:
        """The layer that the finding is about: the exposed one, or what a control puts for it."""
        return self.random if self.control == RANDOM else self.exposed

    def generator(self, purpose: int) -> np.random.Generator:
        """Randomness of a draw."""
        return np.random.default_rng([self.bank.design.seed, 20, purpose])

    def effect(self, removal: Removal) -> Iterator[dict[str, float]]:
        """Of each block: logarithms of TPR among base, idealised and real on the kept examples.

        Idealised: the base models, the removed examples ignored. Real: models trained without
        them. Both thresholds are at the same FPR on the same, kept, examples; B is the base models'
        TPR on all examples. The paper's threshold for I is at that FPR on all examples, also those
        that are ignored: "log (R/I), I as in the paper".
        """
        fpr, real = self.size.fpr, self.without(removal)
        for base, retrained in zip(self.base.blocks(), real.blocks(), strict=True):
            ideal = base.at(removal.kept).log_tpr(fpr)
            all_of_them, real_log = base.log_tpr(fpr), retrained.log_tpr(fpr)
            as_in_paper = base.at(removal.kept).log_share_found(base.threshold(fpr))
            yield {
                "log (R/I)": real_log - ideal,
                "log (R/I), I as in the paper": real_log - as_in_paper,
                "log (B/I)": all_of_them - ideal,
                "log (B/R)": all_of_them - real_log,
                "accuracy lost": float(base.accuracy.mean() - retrained.accuracy.mean()),
            }


class OnionExperiment(OnionWorlds):
    """What the claims about layers are given."""

    def peels(self) -> Iterator[dict[str, float]]:
        """The effect of removing the layer, see `effect`."""
        return self.effect(self.layer)

    def agreement(self, pairs: int = 4) -> Iterator[dict[str, float]]:
        """Whether independent parts of the base bank find the same layer, of each pair of them.

        "r" is the correlation of their advantages, taken from the parts' size to `RELIABLE_AT`
        models by the Spearman-Brown formula (by its size, where it is negative); "r of parts" is as
        measured, and "overlap" the share of one part's layer that the other's holds.

        Source: Spearman (1910) and Brown (1910), British Journal of Psychology 3, 271 and 296.
        """
        count, block = self.layer_size(), self.bank.design.block
        size = max(block, self.bank.models // (2 * pairs) // block * block)
        for number, first in enumerate(range(0, self.bank.models - 2 * size + 1, 2 * size)):
            one, other = (
                self.whole(slice(start, start + size)).advantage for start in (first, first + size)
            )
            if self.control == PERMUTED:
                rng = np.random.default_rng([self.bank.design.seed, 21, number])
                other = rng.permutation(other)
            r, longer = float(np.corrcoef(one, other)[0, 1]), RELIABLE_AT / size
            shared = np.intersect1d(most(one, count), most(other, count))
            yield {
                "r": longer * r / (1 + (longer - 1) * abs(r)),
                "overlap": len(shared) / count,
                "r of parts": r,
            }

    def removals_that_should_not_matter(self) -> Iterator[dict[str, float]]:
        """Log (R/I) of random and of the safest examples removed."""
        both = (
            (self.exposed, self.exposed)
            if self.control == EXPOSED_LAYER
            else (self.random, self.safest)
        )
        for random, safest in zip(*map(self.effect, both), strict=True):
            yield {"random": random["log (R/I)"], "safest": safest["log (R/I)"]}

    def foreign_outliers_instead(self) -> Iterator[dict[str, float]]:
        """The layer replaced by as many out-of-distribution images with random labels.

        "with outliers / without": log TPR on the kept examples against that of models trained
        without the layer and without outliers; "with outliers / idealised" against the base models.
        "memorization": that of the outliers less that of the layer in the base bank.
        """
        fpr, removal = self.size.fpr, self.exposed
        real = self.without(removal)
        added = self.base if self.control == PUT_BACK else self.with_outliers(removal)
        outliers = np.flatnonzero(~np.isin(added.examples, removal.kept))
        of_layer = memorization(self.base.at(removal.examples))
        for base, without, instead in zip(
            self.base.blocks(), real.blocks(), added.blocks(), strict=True
        ):
            log = instead.at(removal.kept).log_tpr(fpr)
            yield {
                "with outliers / without": log - without.log_tpr(fpr),
                "with outliers / idealised": log - base.at(removal.kept).log_tpr(fpr),
                "memorization": memorization(instead.take(outliers)) - of_layer,
            }

    def with_outliers(self, removal: Removal) -> World:
        """Models trained with foreign outliers instead of what is removed.

        Raises:
            CannotResolveError: there are none for this pool.
        """
        kept = removal.without(self.subject)
        try:
            pool = foreign_outliers(kept.pool, len(removal), seed=self.bank.design.seed)
        except ValueError as error:
            raise CannotResolveError(f"there are no outliers for this pool: {error}") from error
        examples = np.concatenate([removal.kept, np.full(len(removal), -1)])
        name = f"{self.subject.name}-with-outliers"
        return self.world(replace(kept, name=name, pool=pool), examples)

    def new_layer(self) -> Iterator[float]:
        """Of each block: advantage on the layer that a peel exposes less that on the one it took.

        The new layer is chosen on one half of the retrained models and measured on the other; the
        old one is measured with as many references.
        """
        removal = self.exposed
        real = self.without(removal)
        for (chosen_on, measured_on), (_, before) in zip(
            self._halves(real), self._halves(self.base), strict=True
        ):
            new = most(chosen_on.advantage, self.layer_size())
            if self.control == RANDOM:
                new = self.generator(3).choice(len(removal.kept), self.layer_size(), replace=False)
            old = before.at(removal.examples).blocks()
            for one, other in zip(measured_on.blocks(), old, strict=True):
                yield float(one.advantage[new].mean() - other.advantage.mean())

    def unlearning(self) -> Iterator[dict[str, float]]:
        """Rise of the others' advantage once the layer is unlearned, exactly: by retraining.

        "mean" over all kept examples; "worst" over the `WORST` part whose rise is highest in other
        models than those that measure it.
        """
        removal = self.layer
        after, before = self.without(removal), self.base.at(removal.kept)
        count = max(1, round(WORST * len(removal.kept)))
        for (chosen, measured), (chosen_before, measured_before) in zip(
            self._halves(after), self._halves(before), strict=True
        ):
            worst = most(chosen.advantage - chosen_before.advantage, count)
            for one, other in zip(measured.blocks(), measured_before.blocks(), strict=True):
                rise = one.advantage - other.advantage
                yield {"mean": float(rise.mean()), "worst": float(rise[worst].mean())}

    def audits(self) -> Iterator[float]:
        """Of each block: share of what the base audit calls safe that is exposed after the removal.

        An example counts where both the block and the one before it find it exposed, each attacked
        alone: the noise of one block would expose some.

        Raises:
            CannotResolveError: the audit calls nothing safe, or there is a single block.
        """
        removal = self.layer
        safe = self.selection.advantage[removal.kept] <= SAFE
        if not safe.any():
            raise CannotResolveError(f"no example has an advantage of {SAFE} or less")
        real = self.without(removal)
        exposed = [block.advantage >= EXPOSED for block in real.among(real.block).blocks()]
        if len(exposed) < 2:
            raise CannotResolveError(
                f"{len(real)} models are no two blocks of {real.block}, which confirm each other: "
                "train more models"
            )
        for found, confirmed in zip(exposed[-1:] + exposed[:-1], exposed, strict=True):
            yield float(np.mean((found & confirmed)[safe]))

    def peeling(self) -> Iterator[dict[str, float]]:
        """One shot against as many examples removed in several rounds (Appendix A).

        "overlap": share of a one-shot layer that peeling removed too, one-shot layers being chosen
        by a quarter of `selection` each; "log (peeled / one shot)": of the TPR on what either
        keeps, from models that none of this was chosen on; "overlap of one shots": of a quarter's
        layer with that of all of `selection`, which noise alone keeps below 1.
        """
        peeled = self.random if self.control == RANDOM else self.peeled
        whole = self.exposed
        one_shot, final = self.without(whole), self.without(peeled)
        units = 4
        quarter = len(self.selection) // units
        size = len(final) // units
        for unit in range(units):
            chosen = self.whole(slice(unit * quarter, (unit + 1) * quarter)).advantage
            layer = most(chosen, len(peeled))
            shared = np.intersect1d(layer, peeled.examples)
            rows = slice(unit * size, (unit + 1) * size)
            yield {
                "overlap": len(shared) / len(peeled),
                "overlap of one shots": len(np.intersect1d(layer, whole.examples)) / len(whole),
                "log (peeled / one shot)": final.part(rows).log_tpr(self.size.fpr)
                - one_shot.part(rows).log_tpr(self.size.fpr),
            }

    @staticmethod
    def _halves(world: World) -> tuple[tuple[World, World], tuple[World, World]]:
        """One half to choose on and the other to measure on, both ways round."""
        first, second = world.halves()
        return (first, second), (second, first)

    @property
    def peeled(self) -> Removal:
        """As many examples as a layer, taken out over several rounds with retraining between."""
        ends = np.linspace(0, self.layer_size() // 2, self.size.rounds + 1).round().astype(int) * 2
        removal: Removal | None = None
        models = self.bank.design.block * self.size.round_blocks
        for first, last in pairwise(np.unique(ends)):
            world = self.selection if removal is None else self.without(removal, models)
            worst = world.examples[most(world.advantage, int(last - first))]
            removal = (
                Removal(self.subject.pool, "peeled", worst)
                if removal is None
                else removal.and_also(worst)
            )
        assert removal is not None
        return removal


def most(values: Floats, count: int) -> Indices:
    """Positions of the `count` largest values, the first of equals first."""
    return np.argsort(-values, kind="stable")[:count]


def _check_half(subject: Subject) -> None:
    if subject.share != 0.5:  # else what stays would have to be a multiple of more than 2
        raise CannotResolveError(
            f"{subject.name} trains each model on a share of {subject.share:g}: removals are made "
            "for one half"
        )


def memorization(world: World) -> float:
    """Mean label memorization over a world's examples."""
    return float(label_memorization(world.correct, world.membership).estimate.mean())
