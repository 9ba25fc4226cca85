"""What an audit found, as tables, as a few sentences, and as a page to hand on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from benchsuite.auditing.target import TargetFindings
from benchsuite.stats.intervals import Interval


@dataclass(frozen=True, eq=False)
class Audit:
    """What shadow models say of a recipe's, or of one model's, training examples.

    Attributes:
        name: of the subject or of the file of the shadow models.
        fpr: false positive rate at which attacks are read.
        epsilon: of differential privacy, at which remedies were tried; None where none were.
        models: shadow models behind it.
        memorization: mean over the examples, with its 95 % interval over models.
        examples: one row an example, see `benchsuite.auditing.listed.example_table`; of an audited
            model with its score, whether it is accused, and where that is known whether the
            model was trained on it.
        attacks: one row an attack: attack, auroc, tpr, tpr_low, tpr_high (95 %, over folds), and
            the realised fpr.
        best: the attack with the highest TPR among them.
        deciding: the attack that `examples` and the target speak of: LiRA, fixed in advance.
        lacking: attacks that the given columns do not allow.
        target: what the attack says of the audited model; None where a recipe alone is audited.
        remedies: see `benchsuite.auditing.remedies.Remedies`; None where none were asked for.
        notes: what was noticed about the data, a sentence each.
        limits: what this does not show, a sentence each.
        images: of the examples, for the page; None where they are no images.
        rows: of the examples, for the page, where they are tables of few columns.
        seconds: spent on training, remedies included.
        trained: models trained for it, remedies included.
    """

    name: str
    fpr: float
    epsilon: float | None
    models: int
    memorization: Interval
    examples: pd.DataFrame
    attacks: pd.DataFrame
    best: str
    deciding: str
    lacking: tuple[str, ...]
    target: TargetFindings | None
    remedies: pd.DataFrame | None
    notes: tuple[str, ...]
    limits: tuple[str, ...]
    images: NDArray[Any] | None
    rows: NDArray[Any] | None
    seconds: float
    trained: int

    def __str__(self) -> str:
        """Return the answer in a few lines."""
        found = self.attacks.set_index("attack")
        lines = [
            f"{self.name}: {len(self.examples):,} examples, {self.models:,} shadow models.",
            f"Memorization {_share(self.memorization.estimate)} on average "
            f"[{_share(self.memorization.low)}, {_share(self.memorization.high)}]; "
            f"{self.examples['memorized'].sum():,} examples are memorized and "
            f"{self.examples['exposed'].sum():,} exposed, at most one in twenty of each list "
            "wrongly, on average.",
            f"At {_share(self.fpr)} false alarms the best attack, {self.best}, finds "
            f"{_share(found.tpr[self.best])} of the members "
            f"[{_share(found.tpr_low[self.best])}, {_share(found.tpr_high[self.best])}].",
        ]
        if self.target is not None:
            lines.append(says(self.target, len(self.examples)))
        return "\n".join([*lines, *self.notes])

    def __repr__(self) -> str:
        return f"Audit({self.name}, {len(self.examples):,} examples, {self.models:,} models)"

    def to_html(self, path: str | Path) -> Path:
        """Write the page, one file with all that it needs, and return where it is.

        Raises:
            OSError: the file cannot be written.
        """
        from benchsuite.report.audit_page import audit_page  # which draws what is defined here

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(audit_page(self), encoding="utf-8")
        return target


def says(target: TargetFindings, examples: int) -> str:
    """What the attack says of one model, in a sentence or two."""
    mean, _, high = target.by_chance
    if target.unlike:
        return (
            "Nobody is accused, for no false alarm rate can be given: unlike the shadow models, on "
            f"{target.compared} {target.unlike}. Audit it with shadow models of its own recipe and "
            "number of training examples."
        )
    accused = int(target.accused.sum())
    line = (
        f"{accused:,} of the {examples:,} examples are accused by {target.attack} of being its "
        f"training data; of a model trained on none of them {mean:.1f} would be, and at most "
        f"{high:.0f} in 39 of 40 such models (p = {target.p_value:.2g})."
    )
    if accused <= high:
        line += " By this attack that is no sign that it was trained on any."
    if target.tpr is not None:
        line += f" Of its training examples {_share(target.tpr[0])} are found."
    if target.fpr is not None:
        line += f" Of the others {_share(target.fpr[0])} are accused."
    if not target.compared:
        line += (
            " Whether it behaves like the shadow models on what it was not trained on could not be "
            "checked: that is assumed."
        )
    return line


def _share(value: float) -> str:
    """As a percentage, with as many digits as it takes to be read."""
    percent = 100 * value
    return f"{percent:.2g} %" if abs(percent) < 10 else f"{percent:.0f} %"
