"""Tables of attacks by group and of mixtures, the paper's numbers beside ours."""

from collections.abc import Callable, Iterable

from markupsafe import Markup

from benchsuite.report.canvas import short_share
from benchsuite.report.counterparts import (
    COUNTERPARTS,
    TRAK,
    Counterpart,
    mixture_row,
    papers_accuracy,
)
from benchsuite.report.drawing import Arrays, Drawing
from benchsuite.report.group_arrays import COARSE, AttackTable, Mixture, Numbers
from benchsuite.report.wording import measured, percent


def attack_table(arrays: Arrays, name: str) -> Drawing:
    """Attacks by group: a table of AUROC and one of TPR."""
    table = AttackTable.of(arrays)
    rate = percent(table.fpr)
    marked = f"† fewer than {COARSE} false positives set the threshold: {table.coarse_groups}. "
    references, calibration, targets = (f"{count:,}" for count in table.models)
    by_trak = (
        " Singletons by TRAK are as many, the under-represented with the highest scores of TRAK's, "
        "by models of its own."
    )
    return Drawing(
        (
            _by_group(table, "AUROC", table.auroc),
            _by_group(table, f"TPR at {rate} FPR", table.tpr, table.realised_fpr),
        ),
        f"How well each attack tells members from non-members of a group; bold: best of a column. "
        f"{marked if table.coarse_groups else ''}"
        f"Attacks are fitted on {references} reference models, a threshold for each attack and "
        f"group is set on {calibration} others so that at most {rate} of the non-members lie above "
        f"it, and {targets} target models are attacked; the FPR below a TPR is what they realise. "
        "Brackets hold the 95 % interval over blocks of targets: it covers new target models of "
        "this pool and bank at the calibrated threshold, not other outliers. Singletons are "
        f"examples of memorization above {short_share(table.threshold)} in the references."
        + (by_trak if TRAK in table.groups else ""),
    )


def mixture(arrays: Arrays, name: str) -> Drawing:
    """Our training set and its accuracies, beside the paper's corresponding ones."""
    ours = Mixture.of(arrays)
    place = COUNTERPARTS.get(ours.subject)
    caption = [
        "What models are trained on and how accurate they are; brackets hold the range of 95 % of "
        "the models here."
    ]
    if place is None:
        caption.append("The paper has no such training set.")
    else:
        caption.append("The paper calls its ± a 95 % confidence interval over 2,000 models.")
        if place.under:
            caption.append("Its singletons are those of its Table 3, above memorization .8.")
        if place.stand_in:
            caption.append(f"Ours is a stand-in for {place.name} at laptop scale.")
    return Drawing((_side_by_side(ours, place, _mixture_rows(ours, place)),), " ".join(caption))


def estimate_and_interval(values: Iterable[float], share: bool) -> tuple[str, str]:
    """Estimate, low and high in print: ("44.3 %", "[41.2, 47.4]")."""
    estimate, low, high = (float(value) for value in values)
    # A t interval knows no such limits as 0 and 1, which all these numbers have.
    limits = max(low, 0.0), min(high, 1.0)
    shown, _, interval = measured(estimate, limits, share=share).partition(" [")
    return shown, f"[{interval}"


def _by_group(
    table: AttackTable, says: str, values: Numbers, realised: Numbers | None = None
) -> Markup:
    marks = ["†" * (realised is not None and table.coarse(k)) for k in range(len(table.groups))]
    names = [
        f"{group[:1].upper()}{group[1:]}{mark}"
        for group, mark in zip(table.groups, marks, strict=True)
    ]
    head = Markup().join(
        Markup('<th scope="col" class="number">{}<small>{}</small></th>').format(
            names[k], table.lacks(k) or f"{table.examples[k]:,} examples"
        )
        for k in range(len(names))
    )
    lines = []
    for a, attack in enumerate(table.attacks):
        cells = []
        for k, name in enumerate(names):
            label = f"{name} ({table.examples[k]:,})"
            shown: Markup | str = Markup('<span class="quiet">{}</span>').format(
                table.lacks(k).partition(":")[0]
            )
            if not table.lacks(k):
                column = values[:, k, 0]
                best = column[a] == column.max() > column.min()
                shown = _measured(values[a, k], realised is not None, best)
                if realised is not None:
                    shown += Markup("<small>FPR {}</small>").format(percent(realised[a, k]))
            cells.append(
                Markup('<td class="number" data-label="{}"><span>{}</span></td>').format(
                    label, shown
                )
            )
        lines.append(
            Markup('<tr><th scope="row">{}</th>{}</tr>').format(attack, Markup().join(cells))
        )
    return Markup(
        '<div class="arms groups scroll"><table class="stack"><caption>{}: {}</caption><thead><tr>'
        '<th scope="col">Attack</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(says, table.subject, head, Markup().join(lines))


def _measured(values: Numbers, share: bool, best: bool = False) -> Markup:
    tag = "strong" if best else "span"
    return Markup(f"<{tag}>{{}}</{tag}><small>{{}}</small>").format(
        *estimate_and_interval(values, share)
    )


def _mixture_rows(
    ours: Mixture, place: Counterpart | None
) -> list[tuple[str, str | Markup, str | Markup]]:
    """What, the paper's, ours."""
    paper, memorized = (mixture_row(place, table) for table in (2, 3))
    parts = ours.groups
    counts = (paper.n_over, paper.n_under) if paper else (None, None)
    rows: list[tuple[str, str | Markup, str | Markup]] = [
        (f"{part} examples", "" if there is None else f"{there:,}", f"{here:,}")
        for part, there, here in zip(parts, counts, ours.examples, strict=False)
    ]
    singletons = f"{memorized.n_under:,}" if memorized else ""
    rows += [
        ("of these singletons", singletons, f"{ours.singletons:,}"),
        ("α, share of over-represented", f"{paper.alpha:g}" if paper else "", f"{ours.alpha:.2f}"),
        ("each model is trained on", "70 %" if paper else "", percent(ours.share)),
        ("network", paper.model if paper else "", ours.network),
    ]
    for which, values in (("train", ours.train), ("test", ours.test)):
        for k, part in enumerate(parts):
            printed: str | Markup = ""
            if accuracy := papers_accuracy(paper, which, k):
                printed = _below(f"{100 * accuracy[0]:.2f} %", f"± {100 * accuracy[1]:.4g}")
            here = _below(*estimate_and_interval(values[k], share=True))
            rows.append((f"{which} accuracy, {part}", printed, here))
    return rows


def _side_by_side(
    ours: Mixture, place: Counterpart | None, rows: list[tuple[str, str | Markup, str | Markup]]
) -> Markup:
    body = Markup().join(
        Markup('<tr><th scope="row">{}</th>{}<td class="number">{}</td></tr>').format(
            what,
            Markup('<td class="number">{}</td>').format(paper or "–") if place else "",
            here,
        )
        for what, paper, here in rows
    )
    paper = Markup('<th scope="col" class="number">The paper<small>{}</small></th>').format(
        place.name if place else ""
    )
    return Markup(
        '<div class="arms pair scroll"><table><caption>Training set and accuracy</caption><thead>'
        '<tr><td></td>{}<th scope="col" class="number">Here<small>{}</small></th></tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(paper if place else "", ours.subject, body)


def _below(text: str, small: str) -> Markup:
    return Markup("{}<small>{}</small>").format(text, small)


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "attack-table": attack_table,
    "mixture": mixture,
}
"""Drawing functions by kind of artifact."""
