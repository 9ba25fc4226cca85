"""The page of an audit: one file that can be handed to somebody who was not there."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchsuite.attacks.catalogue import NEED_LOGITS
from benchsuite.auditing.listed import FALSE_ENTRIES
from benchsuite.auditing.result import Audit, says
from benchsuite.auditing.target import TargetFindings
from benchsuite.report import wording
from benchsuite.report.audit_examples import (
    COLLAPSED,
    accused_pictures,
    accused_table,
    recipe_pictures,
    recipe_table,
)
from benchsuite.report.audit_figures import attack_figure, example_figure
from benchsuite.report.audit_words import attack_rows, points, rate, share, share_interval
from benchsuite.report.remedy_words import remedy_rows, remedy_sentences


@dataclass(frozen=True)
class Answer:
    """What the attack says of one model, as the page shows it: the box's colour, title and text."""

    status: str
    title: str
    text: str
    rates: tuple[str, ...]


def audit_page(audit: Audit) -> str:
    """HTML of what an audit found, with pictures, style and script inside: nothing is loaded."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": wording.duration, "share": share}
    answer = None if audit.target is None else _answer(audit.target, len(audit.examples))
    attacks = attack_rows(audit)
    return environment.get_template("audit.html.j2").render(
        audit=audit,
        answer=answer,
        title=_recipe_title(audit) if answer is None else answer.title,
        attack=_attack_sentence(audit),
        attacks=attacks,
        best=next(row for row in attacks if row.name == audit.best),
        average=points(audit.memorization),
        memorized=int(audit.examples["memorized"].sum()),
        exposed=int(audit.examples["exposed"].sum()),
        false_entries=FALSE_ENTRIES,
        lacking=_lacking(audit),
        accused=None if audit.target is None else accused_table(audit),
        accused_pictures=[] if audit.target is None else accused_pictures(audit),
        listed=recipe_table(audit),
        pictures=recipe_pictures(audit),
        figures=(example_figure(audit, "examples"), attack_figure(audit, "attacks")),
        remedies=[] if audit.remedies is None else remedy_rows(audit.remedies),
        sentences=[] if audit.remedies is None else remedy_sentences(audit.remedies, audit.fpr),
        first=COLLAPSED,
        version=version("benchsuite"),
        today=datetime.now(UTC).date().isoformat(),
    )


def _recipe_title(audit: Audit) -> str:
    exposed = int(audit.examples["exposed"].sum())
    those = "no example is" if not exposed else "1 example is" if exposed == 1 else ""
    return (
        f"{audit.name}: the best attack finds {share(_best(audit, 'tpr'))} of the training "
        f"examples at {share(audit.fpr)} false alarms; {those or f'{exposed:,} examples are'} "
        f"exposed"
    )


def _attack_sentence(audit: Audit) -> str:
    """How strong the best attack is, and whether that is more than guessing."""
    low, false_alarms = _best(audit, "tpr_low"), _best(audit, "fpr")
    if false_alarms == 0:
        return (
            "No attack could accuse anybody at this false alarm rate: too many examples have the "
            "same score."
        )
    found = share_interval(_best(audit, "tpr"), low, _best(audit, "tpr_high"))
    return (
        f"The best attack, {audit.best}, finds {found} of the members, that is of the examples "
        f"that a model was trained on, while accusing {rate(false_alarms)} of the others; "
        f"guessing would find {rate(false_alarms)}."
        + ("" if low > false_alarms else " It cannot be told from guessing.")
    )


def _best(audit: Audit, column: str) -> float:
    return float(audit.attacks.set_index("attack")[column][audit.best])


def _answer(target: TargetFindings, examples: int) -> Answer:
    text = says(target, examples).replace(" %", "\u00a0%")
    accused = int(target.accused.sum())
    if target.unlike:
        title = "Nobody can be accused: this model does not behave like the shadow models"
        return Answer("inconclusive", title, text, ())
    rates = []
    for found, who in ((target.tpr, "its training examples"), (target.fpr, "the others")):
        if found is not None:
            rates.append(f"{share_interval(*found)} of {who}")
    if accused <= target.by_chance[2]:
        title = f"No sign that this model was trained on any of the {examples:,} examples"
        return Answer("neutral", title, text, tuple(rates))
    those = "example is" if accused == 1 else "examples are"
    title = f"{accused:,} of {examples:,} {those} accused of being this model's training data"
    return Answer("refuted", title, text, tuple(rates))


def _lacking(audit: Audit) -> str:
    """Which attacks were not run and why; "" where all were."""
    of_outputs = [name for name in audit.lacking if name in NEED_LOGITS]
    others = [name for name in audit.lacking if name not in NEED_LOGITS]
    sentences = []
    if of_outputs:
        sentences.append(
            f"Not run: {' and '.join(of_outputs)}, which need a model's output for every class; "
            "only its confidence in the label was given. Save logits or probabilities to have "
            "them."
        )
    if others:
        sentences.append(f"Not run, as the answers given do not allow it: {', '.join(others)}.")
    return " ".join(sentences)
