"""How many models an experiment trains, by tier: declared before any run."""

from dataclasses import dataclass, replace

from benchsuite.shadows.design import Balanced


@dataclass(frozen=True)
class MembershipSize:
    """Blocks of the design that serve as references and as targets."""

    references: int
    targets: int


MEMBERSHIP_SIZES = {
    "smoke": MembershipSize(4, 4),
    "cpu": MembershipSize(16, 16),
    "digits-cnn/cpu": MembershipSize(8, 8),
    "breast-cancer-mlp/cpu": MembershipSize(4, 8),
    "breast-cancer-mlp/gpu": MembershipSize(4, 8),
    "docstrings-mlp/cpu": MembershipSize(4, 8),
    "docstrings-mlp/gpu": MembershipSize(4, 8),
    "gpu": MembershipSize(9, 16),
    "cifar10-resnet9/gpu": MembershipSize(4, 4),
    "cifar100-resnet9/gpu": MembershipSize(4, 4),
}
"""By tier or "subject/tier". The gpu tier's 25 blocks of 80 are the paper's 2,000 models.

A ResNet-9 is trained in 8 blocks of 64, 512 models, where the onion paper has 200,000.
"""


def membership_size(
    subject: str, tier: str, design: Balanced, shadows: int | None
) -> MembershipSize:
    """The declared size, or as many whole blocks as `shadows` models give, split in proportion.

    Targets are rounded down: fewer blocks than declared always leave fewer targets, hence units,
    than declared, and as many or more never leave fewer of either.

    Raises:
        ValueError: `shadows` is too few for one block of references and one of targets.
    """
    declared = MEMBERSHIP_SIZES.get(f"{subject}/{tier}", MEMBERSHIP_SIZES[tier])
    if shadows is None:
        return declared
    blocks = shadows // design.block
    if blocks < 2:
        raise ValueError(
            f"--shadows={shadows} is too few: one block of references and one of targets are "
            f"{2 * design.block} models"
        )
    targets = max(1, blocks * declared.targets // (declared.references + declared.targets))
    return MembershipSize(blocks - targets, targets)


@dataclass(frozen=True)
class AttackSize:
    """How many blocks of the design do what in the experiment on attacks and groups.

    Attributes:
        references: fit the attacks, and tell singletons.
        calibration: set the threshold of each attack and group.
        targets: are attacked.
        removal: of models trained without a group's singletons.
        planted: of models trained with mislabelled examples.
        fpr: at which a TPR is read.
    """

    references: int
    calibration: int
    targets: int
    removal: int
    planted: int
    fpr: float

    @property
    def blocks(self) -> int:
        """Of the main bank."""
        return self.references + self.calibration + self.targets


ATTACK_SIZES = {
    "smoke": AttackSize(2, 3, 3, 2, 4, 0.05),
    "miniature": AttackSize(1, 1, 3, 2, 4, 0.05),
    "cpu": AttackSize(8, 14, 10, 6, 12, 1e-3),
    "gpu": AttackSize(9, 6, 10, 4, 12, 1e-3),
}
"""By tier. The cpu tier's bank is as large as that of `MEMBERSHIP_SIZES`, whose files it shares.

The gpu tier's 25 blocks of 80 are the paper's 2,000 models, but for CIFAR-10 alone: 25 of 64.
"""


def attack_size(tier: str, design: Balanced, shadows: int | None) -> tuple[AttackSize, bool]:
    """The declared size, or the part of it that `shadows` models allow; and whether that is enough.

    Raises:
        ValueError: `shadows` is too few for a block of each.
    """
    declared = ATTACK_SIZES[tier]
    if shadows is None or shadows >= declared.blocks * design.block:
        return declared, True
    blocks = shadows // design.block
    if blocks < 4:
        raise ValueError(
            f"--shadows={shadows} is too few: one block of references, one for thresholds and two "
            f"of targets are {4 * design.block} models"
        )
    calibration = max(1, blocks * declared.calibration // declared.blocks)
    targets = max(2, blocks * declared.targets // declared.blocks)
    smaller = replace(
        declared,
        references=blocks - calibration - targets,
        calibration=calibration,
        targets=targets,
        removal=min(declared.removal, 2),
        planted=min(declared.planted, 2),
    )
    return smaller, False


@dataclass(frozen=True)
class OnionSize:
    """How large the onion's worlds are.

    Attributes:
        blocks: of models in each retrained world, and of the base bank that it is compared with.
        local_blocks: of models in each world that lacks one target's neighbours; one for safe
            targets and for duplicates.
        targets: whose neighbours are removed, in each group.
        neighbours: removed of each target.
        rounds: of iterative peeling.
        round_blocks: of models that choose what a round of peeling removes.
        fpr: at which a TPR is read.
        fewer_neighbours: removed too, in worlds of their own, of each target of the second layer.
    """

    blocks: int
    local_blocks: int
    targets: int
    neighbours: int
    rounds: int
    round_blocks: int
    fpr: float
    fewer_neighbours: tuple[int, ...] = ()


ONION_SIZES = {
    "smoke": OnionSize(2, 2, 2, 4, 2, 1, 0.05, (1,)),
    "cpu": OnionSize(8, 2, 6, 25, 3, 4, 1e-3),
    "gpu": OnionSize(4, 4, 10, 25, 50, 1, 1e-4, (1, 2, 10)),
}
"""By tier. The rest of a base bank chooses the layer."""


@dataclass(frozen=True)
class CanarySize:
    """How large an experiment with canaries is.

    Attributes:
        letters: features, each on one image of a model or on none.
        of_each: canaries of high self-influence that each letter has, and as many of low.
        blocks: of models that have them; a block has 4 x of_each models.
        arm_blocks: of models of each regulariser, which have those of high self-influence alone; a
            block has 2 x of_each models.
        compared_blocks: the same of those of which it is decided how well canaries are told apart.
        reported_blocks: the same of regularisers that decide nothing.
        clean_blocks: of models without any canary; a block has 12.
        images: of another origin, that models are asked about.
        glyphs: random ones of equal ink.
        filters: of the first convolution of CNN-1, that the perceptron is compared with.
    """

    letters: int
    of_each: int
    blocks: int
    arm_blocks: int
    compared_blocks: int
    reported_blocks: int
    clean_blocks: int
    images: int
    glyphs: int
    filters: int


CANARY_SIZES = {
    "smoke": CanarySize(2, 4, 2, 1, 1, 1, 1, 8, 6, 2),
    "cpu": CanarySize(8, 12, 6, 2, 3, 1, 2, 32, 30, 4),
    "gpu": CanarySize(8, 12, 6, 2, 3, 2, 2, 200, 99, 32),
}
"""By tier. The paper has 15 canaries of high self-influence and 15 of low, one model each."""


def canary_size(tier: str, shadows: int | None) -> tuple[CanarySize, bool]:
    """The declared size, or as many blocks as `shadows` models give; and whether that is enough.

    Raises:
        ValueError: `shadows` is too few for one block.
    """
    declared = CANARY_SIZES[tier]
    if shadows is None:
        return declared, True
    block = 4 * declared.of_each
    if shadows < block:
        raise ValueError(f"--shadows={shadows} is too few: one block of canaries is {block} models")
    blocks = min(shadows // block, declared.blocks)
    return replace(declared, blocks=blocks), blocks == declared.blocks


@dataclass(frozen=True)
class PrivacySize:
    """How large the experiments on differential privacy are.

    Attributes:
        selection: blocks of models that choose the highly memorized examples.
        blocks: of models of each arm, which are compared block by block.
        epochs: of training, at whose ends the early-stopped arm may end: the first so many.
        canaries: mislabelled examples of the canary game.
        game_epochs: of its training.
        references: blocks of the game that the attacker has.
        targets: blocks of the game that are attacked.
        epsilons: further ones that are drawn, each with one block of references and one of targets.
    """

    selection: int
    blocks: int
    epochs: int
    canaries: int
    game_epochs: int
    references: int
    targets: int
    epsilons: tuple[float, ...]


PRIVACY_SIZES = {
    "smoke": PrivacySize(1, 2, 2, 8, 2, 1, 2, (8.0,)),
    "cpu": PrivacySize(2, 5, 12, 40, 15, 2, 4, (3.0, 10.0)),
    "gpu": PrivacySize(2, 5, 20, 100, 15, 2, 4, (3.0, 10.0)),
}
"""By tier."""


def private_size(tier: str, shadows: int | None, block: int) -> tuple[PrivacySize, bool]:
    """The declared size, or arms of as many blocks as `shadows` models give; and if that is enough.

    Raises:
        ValueError: `shadows` is too few for two blocks.
    """
    declared = PRIVACY_SIZES[tier]
    blocks = _blocks_of(shadows, block, declared.blocks)
    smaller = replace(declared, blocks=blocks, targets=min(blocks, declared.targets))
    return smaller, blocks == declared.blocks


@dataclass(frozen=True)
class PlantingSize:
    """How large the experiment with planted singletons is.

    Attributes:
        worlds: each with others planted.
        blocks: of models of each one's oracle, and as many that confirm.
        planted: examples that are mislabelled in each.
    """

    worlds: int
    blocks: int
    planted: int


PLANTING_SIZES = {
    "smoke": PlantingSize(2, 1, 8),
    "cpu": PlantingSize(4, 1, 40),
    "gpu": PlantingSize(4, 1, 200),
}
"""By tier."""


def planting_size(tier: str, shadows: int | None, block: int) -> tuple[PlantingSize, bool]:
    """The declared size, or as many worlds as `shadows` models give; and whether that is enough.

    Raises:
        ValueError: `shadows` is too few for two worlds.
    """
    declared = PLANTING_SIZES[tier]
    worlds = _blocks_of(shadows, 2 * block * declared.blocks, declared.worlds)
    return replace(declared, worlds=worlds), worlds == declared.worlds


@dataclass(frozen=True)
class PrecisionSize:
    """How many units of two blocks of models each bank of the comparison of precisions has."""

    units: int


PRECISION_SIZES = {
    "smoke": PrecisionSize(2),
    "cpu": PrecisionSize(6),
    "gpu": PrecisionSize(6),
    "cifar10-resnet9/gpu": PrecisionSize(4),
}
"""By tier or "subject/tier"; the banks of float32 are those of `MEMBERSHIP_SIZES` as far as both
go."""


def precision_size(
    subject: str, tier: str, shadows: int | None, block: int
) -> tuple[PrecisionSize, bool]:
    """The declared size, or as many units as `shadows` models give; and whether that is enough.

    Raises:
        ValueError: `shadows` is too few for two units.
    """
    declared = PRECISION_SIZES.get(f"{subject}/{tier}", PRECISION_SIZES[tier])
    units = _blocks_of(shadows, 2 * block, declared.units)
    return PrecisionSize(units), units == declared.units


def _blocks_of(shadows: int | None, block: int, declared: int) -> int:
    if shadows is None:
        return declared
    if shadows < 2 * block:
        raise ValueError(f"--shadows={shadows} is too few: two units are {2 * block} models")
    return min(shadows // block, declared)
