"""Which of our subjects stands for which training set of the membership paper, and which group."""

from typing import NamedTuple

from benchsuite.published import AttackRow, MixtureRow, attack_rows, mixture_rows


class Counterpart(NamedTuple):
    """A training set of the paper; `under` is "" where `over` stands alone.

    `stand_in`: ours has other data of the same kind, at laptop scale.
    """

    over: str
    under: str
    stand_in: bool = False

    @property
    def name(self) -> str:
        """As the paper writes it: MNIST+augMNIST."""
        return training_set(self.over, self.under)


COUNTERPARTS = {
    "digits-mlp": Counterpart("MNIST", "", stand_in=True),
    "mnist-cnn32": Counterpart("MNIST", ""),
    "digits-pixmix": Counterpart("MNIST", "augMNIST", stand_in=True),
    "mnist-augmnist-cnn32": Counterpart("MNIST", "augMNIST"),
    "mnist-svhn-cnn32": Counterpart("MNIST", "SVHN"),
    "digits-photos": Counterpart("MNIST", "CIFAR-10", stand_in=True),
    "mnist-cifar10-cnn64": Counterpart("MNIST", "CIFAR-10"),
    "cifar10-resnet9-70": Counterpart("CIFAR-10", ""),
    "cifar10-augcifar10-resnet18": Counterpart("CIFAR-10", "augCIFAR-10"),
    "cifar10-cifar100-resnet9": Counterpart("CIFAR-10", "CIFAR-100"),
}
"""By our subject, in the order of the paper's training sets."""

TRAK = "singletons by TRAK"

GROUPS = {
    "OOD": "random OOD",
    "Subpop.": "subpopulation",
    "Self-infl.": "singletons",
    "TRAK": TRAK,
    "": "singletons",
}
"""Our group by the paper's; that of a training set alone is its examples of high memorization.

Singletons by TRAK are missing in tables of attacks that are older than they are.
"""


def training_set(over: str, under: str) -> str:
    """A training set as the paper writes it."""
    return f"{over}+{under}" if under else over


def group_of(row: AttackRow) -> str:
    """What we call the group that a row of the paper attacks."""
    return GROUPS[row.group]


def attack_row(place: Counterpart | None, attack: str, group: str) -> AttackRow | None:
    """The paper's row of an attack on a training set and on our `group`; None where it has none."""
    wanted = place and (place.over, place.under, attack, group)
    for row in attack_rows():
        if (row.over, row.under, row.attack, group_of(row)) == wanted:
            return row
    return None


def mixture_row(place: Counterpart | None, table: int) -> MixtureRow | None:
    """The row of Table 2 or 3 with this training set; None where it has none."""
    wanted = place and (place.over, place.under, table)
    for row in mixture_rows():
        if (row.over, row.under, row.table) == wanted:
            return row
    return None


def papers_accuracy(row: MixtureRow | None, which: str, group: int) -> tuple[float, float] | None:
    """Mean and ± of the "train" or "test" accuracy on over (0) or under (1); None where N/A."""
    side = ("over", "under")[group]
    mean: float | None = getattr(row, f"{which}_{side}", None)
    return None if mean is None else (mean, getattr(row, f"{which}_{side}_ci"))
