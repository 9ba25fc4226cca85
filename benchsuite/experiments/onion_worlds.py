"""The worlds of the onion: models of a pool with and without some of its examples.

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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchsuite.experiments.controlled import Remembering
from benchsuite.experiments.removal import Removal
from benchsuite.experiments.sizes import OnionSize
from benchsuite.experiments.world import Unmasking, World
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Design, Lacking
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop

RANDOM, PERMUTED = "random-layer", "permuted"
EXPOSED_LAYER, PUT_BACK = "exposed-layer", "layer-put-back"
LAYER = 0.1
"""Share of the pool that a layer is: the paper's 5,000 of 50,000."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class OnionWorlds(Remembering):
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

    @property
    def others(self) -> World:
        """As many models of the whole pool as `base` has, none of them in it."""
        last = self.bank.models - self.models
        return self.whole(slice(last - self.models, last))

    def whole(self, rows: slice) -> World:
        """The world of some models of the whole pool."""
        everything = np.arange(len(self.subject.pool))
        key = ("base", rows.start, rows.stop)
        world: World = self.once(key, lambda: World.of(self.bank, everything, rows))
        return world

    def ignoring(self, removal: Removal) -> World:
        """Base models that were trained with these examples, which are then ignored."""
        return self.base.at(removal.kept)

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

    def unmasking(
        self,
        subject: Subject,
        before: World,
        why: str,
        removals: Mapping[int, Removal],
        models: int,
    ) -> Unmasking:
        """Each target attacked in models that lack what is removed for it; all are in one bank.

        Of these models nothing but the targets is looked at.

        Args:
            subject: whose pool the removals are of.
            before: models that lack none of it.
            why: a word for the bank's name.
            removals: by target.
            models: that lack one removal.

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
                    bank,
                    np.array([target]),
                    design.models_of(part, bank.models),
                    np.array([target]),
                )
                for part, target in enumerate(removals)
            }

        after: dict[int, World] = self.once(("targets", bank.key, bank.models), compute)
        return Unmasking(before, after, len(next(iter(removals.values()))))

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


def most(values: Floats, count: int) -> Indices:
    """Positions of the `count` largest values, the first of equals first."""
    return np.argsort(-values, kind="stable")[:count]


def _check_half(subject: Subject) -> None:
    if subject.share != 0.5:  # else what stays would have to be a multiple of more than 2
        raise CannotResolveError(
            f"{subject.name} trains each model on a share of {subject.share:g}: removals are made "
            "for one half"
        )
