"""Tables 1 to 4 of "Exploring Connections Between Memorization And Membership Inference" (MIA).

The CSV files hold what is printed, in percent where the paper prints percent; the readers return
shares in [0, 1], as everything else of `benchsuite` counts. Datasets have one name in all tables:
"augmented MNIST" is augMNIST, "cropped SVHN" is SVHN; a model trained on one dataset alone has
`under` and `group` "". What the tables do not say in themselves:

* The group of an alone row is not a second dataset: it is the examples of memorization above .4
  for MNIST and above .8 for CIFAR-10 (footnote 8).
* "Self-infl." and "TRAK" are singletons: examples of the under-represented dataset of memorization
  above .8 where MNIST is over-represented and above .5 where CIFAR-10 is (Sec. 4.1); Table 3 counts
  those above .8 for both (App. A.2).
* Table 2 gives 70 % of the data to each model and has each example in the training set of half of
  the models, which cannot both hold; its +- is called a 95 % confidence interval over 2,000 models.
"""

import csv
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class AttackRow(NamedTuple):
    """One attack on one training set, scored on all its examples and on a group of them.

    Attributes:
        table: 1 or 4.
        row: the row as printed, from 1: 1 to 45 in each half of Table 1, 1 to 15 in Table 4.
        half: "left" (MNIST) or "right" (CIFAR-10) in Table 1, "" in Table 4.
        attack: "Yeom", "Shokri", "Sablayrolles", "Song & Mittal" or "LiRA" (printed: Carlini).
        over: the over-represented dataset.
        under: the under-represented dataset, "" where `over` stands alone.
        group: who is attacked in the columns `under`: "OOD", "Subpop.", "Self-infl.", "TRAK", or ""
            where `over` stands alone.
        printed: the group in the table's own word, such as "random" or "singletons" in Table 4.
        auroc_all: the AUROC on random examples of the training mixture, in [0, 1].
        auroc_under: the AUROC on the group, in [0, 1].
        tpr_all: the TPR at an FPR of 0.1 % on random examples, a share in [0, 1].
        tpr_under: the TPR at an FPR of 0.1 % on the group, a share in [0, 1].
    """

    table: int
    row: int
    half: str
    attack: str
    over: str
    under: str
    group: str
    printed: str
    auroc_all: float
    auroc_under: float
    tpr_all: float
    tpr_under: float


class MixtureRow(NamedTuple):
    """One training set, its model, and the accuracy on both of its datasets.

    Attributes:
        table: 2 (random OOD) or 3 (singletons: memorization above .8).
        over: the over-represented dataset.
        under: the under-represented dataset, "" where `over` stands alone.
        alpha: the share of `over` in the mixture as printed; None in Table 3, which has none.
        n_over: the examples of `over`; None in Table 2, which does not print them.
        n_under: the examples of `under`.
        model: "CNN32", "CNN64", "ResNet-9" or "ResNet-18".
        train_over: the mean accuracy on the training examples of `over`, a share; `train_under`,
            `test_over` and `test_under` likewise, None where the table has N/A.
        train_over_ci: what stands behind its +-, a share, and so for the other three.
    """

    table: int
    over: str
    under: str
    alpha: float | None
    n_over: int | None
    n_under: int
    model: str
    train_over: float
    train_over_ci: float
    train_under: float | None
    train_under_ci: float | None
    test_over: float
    test_over_ci: float
    test_under: float | None
    test_under_ci: float | None


@cache
def attack_rows() -> tuple[AttackRow, ...]:
    """Return what the paper prints of its five attacks.

    Returns:
        The 90 rows of Table 1, the left half before the right one, then the 15 of Table 4, each
        half and table from top to bottom.

    Source: MIA, Table 1 (Sec. 4.2) and Table 4 (App. D.1).
    """
    return tuple(
        AttackRow(
            table=int(line["table"]),
            row=int(line["row"]),
            half=line["half"],
            attack=line["attack"],
            over=line["over"],
            under=line["under"],
            group=line["group"],
            printed=line["printed"],
            auroc_all=float(line["auroc_all"]),
            auroc_under=float(line["auroc_under"]),
            tpr_all=_share(line["tpr_all"]),
            tpr_under=_share(line["tpr_under"]),
        )
        for line in _lines("membership_attacks.csv")
    )


@cache
def mixture_rows() -> tuple[MixtureRow, ...]:
    """Return what the paper prints of its training sets and of the accuracy reached on them.

    Returns:
        The 7 rows of Table 2, then the 5 of Table 3, each from top to bottom.

    Source: MIA, Table 2 (App. A.1) and Table 3 (App. A.2).
    """
    return tuple(
        MixtureRow(
            table=int(line["table"]),
            over=line["over"],
            under=line["under"],
            alpha=float(line["alpha"]) if line["alpha"] else None,
            n_over=int(line["n_over"]) if line["n_over"] else None,
            n_under=int(line["n_under"]),
            model=line["model"],
            train_over=_share(line["train_over"]),
            train_over_ci=_share(line["train_over_ci"]),
            train_under=_share_or_none(line["train_under"]),
            train_under_ci=_share_or_none(line["train_under_ci"]),
            test_over=_share(line["test_over"]),
            test_over_ci=_share(line["test_over_ci"]),
            test_under=_share_or_none(line["test_under"]),
            test_under_ci=_share_or_none(line["test_under_ci"]),
        )
        for line in _lines("membership_mixtures.csv")
    )


def _lines(name: str) -> Iterator[dict[str, str]]:
    text = files("benchsuite.published").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _share(percent: str) -> float:
    return float(Decimal(percent) / 100)  # decimal: 97.55 % is the float that 0.9755 is


def _share_or_none(percent: str) -> float | None:
    return _share(percent) if percent else None
