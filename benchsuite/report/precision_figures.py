"""The figure of precision: what each training's scores come to, and memorization by example."""

from collections.abc import Callable

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.drawing import Arrays, Drawing, numbers, texts
from benchsuite.report.wording import measured, number, percent

Numbers = NDArray[np.float64]

COLUMNS = {
    "memorization": ("Mean memorization", False),
    "auroc": ("AUROC", False),
    "tpr": ("TPR", True),
    "rank of memorization": ("Rank correlation of memorization", False),
    "rank of LiRA's scores": ("Rank correlation of LiRA's scores", False),
    "accuracy": ("Held-out accuracy", True),
}
"""What the table's columns are called, and whether they are shares in percent."""
BY_EXAMPLE = "by example, {}".format


def _precision_scores(arrays: Arrays, name: str) -> Drawing:
    """A table with a row of each training, and memorization against float32's."""
    arms = texts(arrays, "arms")
    if len(arms) != 4:
        raise ValueError(f"arms holds {arms}, expected float32 twice and the precision twice")
    values = {column: _with_ends(arrays, column, len(arms)) for column in COLUMNS}
    rates = arrays["rate"].astype(float)
    if (
        rates.shape != (len(arms),)
        or not (((rates > 0) & (rates < np.inf)) | np.isnan(rates)).all()
    ):
        raise ValueError(f"rate has shape {rates.shape} or holds others than rates, or NaN")
    units, models, outside, fpr = (
        float(numbers(arrays, each, ())) for each in ("units", "models", "non-members", "fpr")
    )
    precision = arms[2]
    float32 = numbers(arrays, BY_EXAMPLE("float32"))
    against = {
        "another seed": numbers(arrays, BY_EXAMPLE("another seed"), float32.shape),
        precision: numbers(arrays, BY_EXAMPLE("other"), float32.shape),
    }
    of_memorization = values["rank of memorization"][:, 0]
    device = "a GPU" if str(arrays["device"]) == "cuda" else "a CPU"
    rate = f" at {percent(fpr)} FPR"
    return Drawing(
        (
            _table(arms, values, rates, rate),
            *(
                _scatter(f"{name}-{k}", float32, other, arm, k)
                for k, (arm, other) in enumerate(against.items())
            ),
        ),
        f"What {models:,.0f} models on {device} come to, trained in float32, in float32 with other "
        f"initial weights and order, and in {precision}, all on the same subsets; the last row "
        "rounds what the models answer as well. Brackets hold 95 % intervals over "
        f"{units:.0f} units of {models / units:.0f} models; a TPR is read at the threshold that "
        f"{outside * fpr:,.0f} of a unit's {outside:,.0f} non-members reach. Rank correlations are "
        "with float32, of the other seed: two seeds of it rank memorization with "
        f"{number(of_memorization[0])}, {precision} and float32 with {number(of_memorization[2])}. "
        "Models per second are of this run, where it trained them. Each dot is an example, by its "
        "memorization over all models: on the line both trainings agree.",
    )


def _table(arms: list[str], values: dict[str, Numbers], rates: Numbers, rate: str) -> Markup:
    titles = [says + rate * (name == "tpr") for name, (says, _) in COLUMNS.items()]
    titles.append("Models per second")
    head = Markup().join(
        Markup('<th scope="col" class="number">{}</th>').format(title) for title in titles
    )
    lines = []
    for k, arm in enumerate(arms):
        cells = []
        for name, (_, share) in COLUMNS.items():
            estimate, low, high = values[name][k].tolist()
            shown, _, ends = measured(estimate, (low, high), share=share).partition(" [")
            cells.append(Markup("{}<small>[{}</small>").format(shown, ends))
        cells.append(Markup.escape("–" if np.isnan(rates[k]) else number(float(rates[k]))))
        lines.append(
            Markup('<tr><th scope="row">{}</th>{}</tr>').format(
                arm,
                Markup().join(
                    Markup('<td class="number" data-label="{}"><span>{}</span></td>').format(*each)
                    for each in zip(titles, cells, strict=True)
                ),
            )
        )
    return Markup(
        '<div class="arms groups scroll"><table class="stack"><caption>Scores by training</caption>'
        '<thead><tr><th scope="col">Trained in</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(head, Markup().join(lines))


def _scatter(name: str, float32: Numbers, other: Numbers, arm: str, k: int) -> Markup:
    figure, axes = canvas.axes("Memorization, float32", f"Memorization, {arm}")
    ends = [min(0.0, float(float32.min()), float(other.min())) - 0.02, 1.02]
    axes.plot(ends, ends, color=svg.QUIET, linewidth=1)
    canvas.points(axes, float32, other, svg.SERIES[k])
    axes.set(xlim=ends, ylim=ends)
    apart = float(np.abs(other - float32).max())
    note = f"at most {number(apart)} apart"
    axes.set_title(note, loc="left", fontsize=10)
    alt = f"Memorization by {arm} against float32's, {len(float32):,} examples: {note}"
    return svg.render(figure, name, alt)


def _with_ends(arrays: Arrays, name: str, count: int) -> Numbers:
    """Estimates with their intervals, [count, 3]."""
    values: Numbers = numbers(arrays, name, (count, 3))
    estimate, low, high = values.T
    if (low > estimate).any() or (estimate > high).any():
        raise ValueError(f"{name} holds values that do not lie within their intervals")
    return values


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {"precision-scores": _precision_scores}
"""Drawing functions by kind of artifact."""
