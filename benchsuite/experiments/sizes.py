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
}
"""By tier or "subject/tier". The gpu tier's 25 blocks of 80 are the paper's 2,000 models."""


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
