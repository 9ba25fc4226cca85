"""Figures of unique features: in how many models letters are found, and what prevents it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.drawing import LINES, Arrays, Drawing, numbers, texts
from benchsuite.report.wording import minus, number, percent

FOUND = (
    "A letter is found in a model whose output it changes more than it changes the outputs of "
    "models that never saw it, beyond chance."
)
APART = (
    "Told from clean models is how often a letter's effect lies further from the mean of models "
    "that never saw it, in either direction, than such a model's own: 50 % is chance."
)
BINS = 30


def _along_training(arrays: Arrays, name: str) -> Drawing:
    """Validation loss above, share found and told apart below, by epoch."""
    running = shares(arrays, "running")
    series = ("epoch", "validation_loss", "found", "apart")
    for each in series:
        if arrays[each].shape != running.shape or running.ndim != 1:
            raise ValueError(f"{each} {arrays[each].shape} and running {running.shape} do not fit")
    if not (running >= 0.5).any():
        raise ValueError("running is below 0.5 at every epoch, so that there is nothing to draw")
    drawn = {each: arrays[each][running >= 0.5] for each in series}
    epoch, loss, best_epochs = (
        numbers(given, each)
        for given, each in (
            (drawn, "epoch"),
            (drawn, "validation_loss"),
            (arrays, "best_epochs"),
        )
    )
    found, apart = shares(drawn, "found"), shares(drawn, "apart")
    if not (np.diff(epoch) > 0).all():
        raise ValueError("epoch does not rise")
    if best_epochs.ndim != 1 or not best_epochs.size:
        raise ValueError(f"best_epochs has shape {best_epochs.shape}, expected one of each model")
    best = float(np.median(best_epochs))
    figure = Figure(figsize=(4.3, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    for axes in (upper, lower):
        says = f"median of the models' best epochs: {best:g}" if axes is upper else "_"
        axes.axvline(best, color=svg.INK, linestyle=(0, (3, 2)), linewidth=1.1, label=says)
        axes.grid(axis="y")
    for k, (axes, values, says) in enumerate(
        (
            (upper, loss, "_"),
            (lower, found, "share of letters found"),
            (lower, apart, "told from clean models (dotted: chance)"),
        )
    ):
        line: Any = {"color": svg.SERIES[k], "linestyle": LINES[k], "marker": "^os"[k]}
        axes.plot(epoch, values, ms=3.6, label=says, **line)
    upper.set_ylabel("Validation loss")
    lower.axhline(0.5, color=svg.QUIET, linestyle=(0, (1, 2)), linewidth=1.2)
    most = f"found most: epoch {epoch[found.argmax()]:g}" if found.any() else "found in none"
    if found.any():
        lower.axvline(epoch[found.argmax()], color=svg.SERIES[1], linewidth=1.1, label=most)
    lower.set(xlabel="Epoch", ylabel="Share", ylim=(-0.02, 1.02))
    canvas.percent_axis(lower.yaxis)
    lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for axes in (upper, lower):
        canvas.legend(axes)
    at, least = (int(np.abs(epoch - e).argmin()) for e in (best, epoch[loss.argmin()]))
    alt = (
        f"By epoch {epoch[0]:g} to {epoch[-1]:g}: validation loss is least, {number(loss[least])}, "
        f"at epoch {epoch[least]:g}; models are best at epoch {best:g} (median); share found "
        f"{percent(found[0])} at first, {percent(found[at])} at epoch {epoch[at]:g}, "
        f"{percent(found[-1])} at last ({most}); told from clean models {percent(apart[0])}, "
        f"{percent(apart[at])}, {percent(apart[-1])}"
    )
    return Drawing(
        (svg.render(figure, name, alt),),
        "Above, the loss on images that no model trains on; a model overfits from where its own is "
        "lowest, and the dashed line is the median of those epochs. Below, in how many models the "
        "letter is found at that time, most at the solid line: what is found left of the dashed "
        f"one is memorised before models overfit. {FOUND} {APART} Epochs at which fewer than half "
        "of the models still train are left out.",
    )


def _regularisers(arrays: Arrays, name: str) -> Drawing:
    """Share found by way of training, and a table of all that was measured."""
    arms, paper = texts(arrays, "arms"), texts(arrays, "paper")
    if not arms or len(paper) != len(arms):
        raise ValueError(f"arms holds {len(arms)} texts and paper {len(paper)}, expected as many")
    shape = (len(arms),)
    found, apart, accuracy, clean_found, clean_alarm = (
        shares(arrays, each, shape)
        for each in ("found", "apart", "accuracy", "clean_found", "clean_alarm")
    )
    mean_all = numbers(arrays, "mean_all", shape)
    found_ends, apart_ends = (_ends(arrays, each, shape) for each in ("found", "apart"))
    positive = arrays["mean_positive"].astype(float)
    if positive.shape != shape or np.isinf(positive).any():
        raise ValueError(
            f"mean_positive has shape {positive.shape} or is infinite, expected a number or "
            f"NaN (no canary with M > 0) for each of {len(arms)} arms"
        )
    columns = {
        "Share found [interval]": _with_intervals(found, *found_ends),
        "Told from clean models [interval]": _with_intervals(apart, *apart_ends),
        "Mean M where M\u00a0>\u00a00": [
            "none" if np.isnan(each) else number(each) for each in positive
        ],
        "Mean M of\u00a0all": [number(each) for each in mean_all],
        "Test accuracy": _percentages(accuracy),
        "Clean models found": _percentages(clean_found),
        "Clean models with p\u00a0<\u00a0.05": _percentages(clean_alarm),
        "The paper": [_unbroken(minus(each)) or "–" for each in paper],
    }
    figure, axes = canvas.axes("Models in which the letter is found", "", 0.9 + 0.27 * len(arms))
    canvas.dots(axes, arms, found, found_ends, "trained on the letter: found")
    canvas.squares(axes, clean_found, "never saw it: found")
    canvas.legend(axes)
    rates = zip(arms, columns["Share found [interval]"], strict=True)
    alt = f"Share of canary models found: {'; '.join(f'{arm}: {rate}' for arm, rate in rates)}"
    return Drawing(
        (
            svg.render(figure, name, alt),
            canvas.table("What each way of training memorises", "Training", arms, columns),
        ),
        f"One row for each way of training. {FOUND} {APART} M is the paper's score: how much more "
        "the letter moves the output, in nats, than random pixels do. The paper prints its mean "
        "over canaries with a positive M, which leaves out all that were not memorised and may be "
        "high where hardly any is; the mean of all is beside it. Clean models never saw the "
        "letter: whatever is found in them is a false alarm.",
    )


def _clean_null(arrays: Arrays, name: str) -> Drawing:
    """Effects in models with and without the letter, and the false alarms of three tests."""
    effects, canary = numbers(arrays, "effects"), numbers(arrays, "canary")
    for each, values in (("effects", effects), ("canary", canary)):
        if values.ndim != 1 or not values.size:
            raise ValueError(f"{each} has shape {values.shape}, expected one value of each model")
    level, *alarms = (
        float(shares(arrays, each, ())) for each in ("level", "sign_fails", "rank_fails", "alarm")
    )
    threshold = float(np.quantile(effects, 1 - level))
    figure, axes = canvas.axes("Effect (standard deviations)", "Share of the models", 3.9)
    edges = np.histogram_bin_edges(np.concatenate([effects, canary]), BINS)
    found = []
    for k, (values, says) in enumerate(
        ((effects, "models without the letter"), (canary, "canary models"))
    ):
        drawn: Any = {"color": svg.SERIES[k], "edges": edges}
        heights = np.histogram(values, edges)[0] / len(values)
        above = percent(round(float((values > threshold).mean()), 3))
        found.append(f"{above} of {len(values):,} {says}")
        axes.stairs(heights, fill=True, alpha=0.2, lw=0, **drawn)
        axes.stairs(heights, linestyle=LINES[k], lw=1.6, label=found[-1], **drawn)
    axes.axvline(threshold, color=svg.INK, linestyle=(0, (1, 2)), linewidth=1.4)
    canvas.percent_axis(axes.yaxis)
    canvas.legend(axes, title="Right of the dotted line are")
    alt = f"Histogram of effects; right of the dotted line are {' and '.join(found)}"
    panels = [svg.render(figure, f"{name}-0", alt)]

    tests = "the paper's sign,\nM > 0", "rank among glyphs\nof equal ink", "against\nclean models"
    figure, axes = canvas.axes("Clean models with a false alarm", "", 2.1)
    axes.axvline(level, color=svg.INK, linestyle=(0, (1, 2)), linewidth=1.4)
    for k, alarm in enumerate(alarms):
        axes.plot([0, alarm], [k, k], color=svg.SERIES[2], linewidth=1.6)
        axes.plot([alarm], [k], "D", ms=5.5, color=svg.SERIES[2])
        axes.annotate(
            percent(alarm), (alarm, k), (7, 0), textcoords="offset points", va="center", fontsize=10
        )
    axes.set_yticks(range(3), tests)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.15 * max(*alarms, level, 0.05)), ylim=(2.5, -0.5))
    canvas.percent_axis(axes.xaxis)
    axes.set_title(f"Dotted: {percent(level)}, what a test promises", loc="left", fontsize=10)
    rates = zip(tests, alarms, strict=True)
    said = "; ".join(f"{test.replace(chr(10), ' ')}: {percent(rate)}" for test, rate in rates)
    alt = f"Models without the letter with a false alarm; {said}; promised: {percent(level)}"
    panels.append(svg.render(figure, f"{name}-1", alt))
    return Drawing(
        tuple(panels),
        "Models that never saw the letter react to it too, to some letters more than to others. "
        "Each effect is measured, in standard deviations, against the clean models of its own "
        f"letter; the dotted line leaves {percent(level)} of the clean ones on its right. A test "
        "should accuse no more of them than it promises. The paper's takes any score M above 0 as "
        "memorised; the second ranks the letter among random shapes of as much ink in the same "
        "model; the last compares the model with clean ones, and decides here.",
    )


def _by_letter(arrays: Arrays, name: str) -> Drawing:
    """Share found by letter and place; false alarms and effects of its clean models."""
    letters = texts(arrays, "letters")
    if not letters:
        raise ValueError("letters holds no texts, expected one for each letter")
    shape = (len(letters),)
    row, column, effect = (numbers(arrays, e, shape) for e in ("rows", "columns", "clean_effect"))
    found, alarm = (shares(arrays, each, shape) for each in ("found", "clean_alarm"))
    ends = _ends(arrays, "found", shape)
    names = [f"{c} ({y:g}, {x:g})" for c, y, x in zip(letters, row, column, strict=True)]
    figure = Figure(figsize=(4.3, 1.1 + 0.27 * len(letters)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    canvas.dots(left, names, found, ends, "trained on the letter: found")
    canvas.squares(left, alarm, "never saw it: p < .05")
    left.set_xlabel("Models")
    right.axvline(0, color=svg.QUIET, linewidth=0.8, alpha=0.6)
    right.plot(effect, np.arange(len(letters)), "D", ms=4.5, color=svg.SERIES[2])
    right.margins(x=0.12)
    right.tick_params(axis="y", length=0)
    right.grid(axis="x")
    right.set_xlabel("Clean effect")
    canvas.legend(left)
    rates = "; ".join(
        f"{each}: {rate}, clean models with p < .05 {clean}, clean effect {minus(f'{e:.2f}')}"
        for each, rate, clean, e in zip(
            names, _with_intervals(found, *ends), _percentages(alarm), effect, strict=True
        )
    )
    edge = column == column.min()
    more = not edge.all() and found[edge].min() > found[~edge].max()
    by_place = "Each at the left edge is found in more models than any other. " if more else ""
    least, most = (
        f"{minus(f'{effect[k]:.2f}')} ({letters[k]})" for k in (effect.argmin(), effect.argmax())
    )
    return Drawing(
        (svg.render(figure, name, f"Share of canary models found by letter; {rates}"),),
        "Each line is one letter at its own place (row and column of its corner, from 0), so that "
        "what is due to the letter and what to the place cannot be told apart. Dots are the share "
        "of models with the letter on an image of high self-influence in which it is found, with "
        "95 % intervals over those images; squares are the share of clean models with p < .05. "
        f"{by_place}On the right is the letter's mean effect in clean models, in standard "
        "deviations of random glyphs of equal ink. It would be 0 if models took letters for such "
        f"glyphs, but goes from {least} to {most}: the further from 0, the less can its rank among "
        "them be trusted.",
    )


def _ends(arrays: Arrays, name: str, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both ends of the intervals of shares called `name`."""
    low, high = (numbers(arrays, f"{name}_{end}", shape) for end in ("low", "high"))
    if (low > high).any():
        raise ValueError(f"{name}_low holds values above {name}_high")
    return np.clip(low, 0, 1), np.clip(high, 0, 1)  # a t interval has no limits


def shares(arrays: Arrays, name: str, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The numbers called `name`; ValueError for any outside [0, 1], or as `numbers`."""
    values = numbers(arrays, name, shape)
    if values.size and (values.min() < 0 or values.max() > 1):
        raise ValueError(f"{name} holds values outside [0, 1]")
    return values


def _percentages(shares: NDArray[Any]) -> list[str]:
    """To one decimal, so that they line up in a column."""
    return [f"{100 * share:.1f} %" for share in shares]


def _with_intervals(shares: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> list[str]:
    return [
        f"{share} [{100 * below:.1f}, {100 * above:.1f}]"
        for share, below, above in zip(_percentages(shares), low, high, strict=True)
    ]


def _unbroken(text: str) -> str:
    """`text` without a line break after a hyphen, as in F-MNIST."""
    return text.replace("-", "\u2011")


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "along-training": _along_training,
    "regularisers": _regularisers,
    "by-letter": _by_letter,
    "clean-null": _clean_null,
}
"""Drawing functions by kind of artifact."""
