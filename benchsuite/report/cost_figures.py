"""How cost grows: seconds against the number of models, and of examples."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchsuite.report import canvas, svg
from benchsuite.report.cost import PARTS, Growth
from benchsuite.report.drawing import LINES, Drawing
from benchsuite.report.wording import duration, minus, number


def growth_figure(growths: Sequence[Growth]) -> Drawing | None:
    """A panel for each growth; None where there is none."""
    if not growths:
        return None
    with svg.style():
        panels = tuple(_panel(growth) for growth in growths)
    return Drawing(
        panels,
        f"{' '.join(_in_words(growth) for growth in growths)} At slope 1 twice as many cost twice "
        "the time; the lines are fits to the logarithms. Training fills an empty bank; the "
        "estimates are memorization and LiRA, what the models said being read from the bank.",
    )


def _panel(growth: Growth) -> Markup:
    figure, axes = canvas.axes(f"{growth.of.capitalize()} (log scale)", "Seconds (log scale)")
    axes.set(xscale="log", yscale="log")
    found = []
    for k, part in enumerate(PARTS):
        seconds, slope = growth.seconds[part], growth.slope(part)
        x, y = np.log(growth.counts), np.log(seconds)
        ends = np.array([x[0], x[-1]])
        found.append(f"{part}: slope {minus(f'{slope:.2f}')}")
        axes.plot(
            np.exp(ends),
            np.exp(y.mean() + slope * (ends - x.mean())),
            color=svg.SERIES[k],
            linestyle=LINES[k],
            label=found[-1],
        )
        axes.plot(growth.counts, seconds, "os"[k], ms=5, color=svg.SERIES[k])
    axes.xaxis.set_major_locator(FixedLocator(canvas.spread(growth.counts)))
    axes.yaxis.set_major_locator(FixedLocator(canvas.round_steps(*axes.get_ylim())))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: canvas.tick(value)))
    axes.grid(axis="y")
    canvas.legend(axes)
    alt = f"Seconds against {growth.of} on log axes; {'; '.join(found)}"
    return svg.render(figure, f"growth-{growth.of}", alt)


def _in_words(growth: Growth) -> str:
    """From how many to how many, and what that costs: one sentence."""
    costs = (
        f"{part} from {_time(growth.seconds[part][0])} to {_time(growth.seconds[part][-1])}"
        for part in PARTS
    )
    return (
        f"From {growth.counts[0]:,} to {growth.counts[-1]:,} {growth.of} ({growth.says}) the time "
        f"grows: {', '.join(costs)}."
    )


def _time(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else f"{number(1000 * seconds)} ms"
