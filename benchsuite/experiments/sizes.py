"""How many models an experiment trains, by tier: declared before any run."""

from dataclasses import dataclass

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
