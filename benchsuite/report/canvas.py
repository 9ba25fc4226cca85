"""What the figures share: axes, a legend above them, points, ticks, pictures, tables."""

import base64
import io
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from benchsuite.report import svg
from benchsuite.report.wording import minus, percent

MOST_POINTS = 2000


def short_share(value: float) -> str:
    """A memorization as captions have it: .97, 1.0, −.03."""
    value = round(value, 2) + 0.0  # + 0.0: no "−.00"
    return minus(f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.1f}")


def axes(xlabel: str, ylabel: str, height: float = 3.2) -> tuple[Figure, Axes]:
    """A figure of one column's width (readable on a phone) and its axes; `height` in inches."""
    figure = Figure(figsize=(4.3, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def legend(axes: Axes, title: str | None = None) -> None:
    """A legend above the axes: inside them curves go everywhere."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        title=title,
        title_fontsize=10,
        alignment="left",
        borderaxespad=0.2,
        handlelength=2.6,
    )


def points(axes: Axes, x: NDArray[Any], y: NDArray[Any], colour: str, marker: str = "o") -> None:
    """A scatter of at most 2,000 of the points, evenly chosen; each dot weighs in the page."""
    shown = np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int)
    axes.plot(x[shown], y[shown], marker, ms=3.2, mew=0, color=colour, alpha=0.45)


def spread(counts: NDArray[Any]) -> list[float]:
    """At most six of `counts`, evenly chosen, the last included: places for ticks."""
    every = -(-(len(counts) - 1) // 5) or 1
    return [float(count) for count in counts[::-1][::every]]


def round_steps(low: float, high: float) -> list[float]:
    """Tick places 1, 2, 5, 10, … within [low, high], or powers of ten where those are many."""
    steps = [m * 10.0**e for e in range(-30, 10) for m in (1, 2, 5)]
    inside = [step for step in steps if low <= step <= high]
    return inside if len(inside) <= 6 else [step for step in inside if f"{step:e}".startswith("1")]


def tick(value: float) -> str:
    """A place on a logarithmic axis in few characters: 0.02, 500, 2 × 10⁻⁵, 10⁻⁹."""
    if 1e-3 <= value < 1e5:
        return f"{value:,g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if mantissa == "1" else f"{mantissa} × {power}"


def dots(
    axes: Axes,
    names: list[str],
    shares: NDArray[Any],
    ends: tuple[NDArray[Any], NDArray[Any]],
    says: str,
) -> None:
    """A line for each name, the first on top: a dot for its share, and the interval."""
    at = np.arange(len(names))
    axes.hlines(at, *ends, color=svg.SERIES[0], linewidth=1.8)
    axes.plot(shares, at, "o", ms=5, color=svg.SERIES[0], label=says)
    axes.set_yticks(at, names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02 * max(float(ends[1].max()), 0.1))
    percent_axis(axes.xaxis)
    axes.grid(axis="x")


def squares(axes: Axes, shares: NDArray[Any], says: str) -> None:
    """What the lines of `dots` are held against, hollow."""
    hollow: Any = {"mfc": "none", "mec": svg.SERIES[1], "mew": 1.3}
    axes.plot(shares, np.arange(len(shares)), "s", ms=8, label=says, **hollow)
    axes.set_xlim(right=max(axes.get_xlim()[1], 1.02 * float(shares.max())))


def percent_axis(axis: Axis) -> None:
    """Ticks of shares in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def picture(image: NDArray[Any], alt: str, says: str = "") -> Markup:
    """`image`, see `png`, as a <figure> of a gallery with `says` below it."""
    below = Markup("<figcaption>{}</figcaption>").format(says) if says else ""
    return Markup('<figure><img src="data:image/png;base64,{}" alt="{}">{}</figure>').format(
        png(image), alt, below
    )


def rows(title: str, columns: tuple[str, ...], items: list[list[Markup]]) -> Markup:
    """A gallery of rows under the names of their columns."""
    heads = [Markup("<b>{}</b>").format(each) for each in columns]
    return Markup(
        '<div class="gallery rows"><h4>{}</h4><div style="--columns: {}">{}</div></div>'
    ).format(title, len(columns), Markup().join(sum(items, heads)))


def outlined(values: NDArray[Any], place: NDArray[Any], alt: str, says: str) -> Markup:
    """A grey map with an outline around `place`: row, column, height, width."""
    row, column, high, wide = place
    height, width = values.shape
    return Markup(
        '<figure><svg class="map" viewBox="0 0 {w} {h}" role="img" aria-label="{alt}, {says}">'
        '<image width="{w}" height="{h}" href="data:image/png;base64,{png}"/>'
        '<rect x="{x}" y="{y}" width="{wide}" height="{high}"/></svg>'
        "<figcaption>{says}</figcaption></figure>"
    ).format(
        w=width,
        h=height,
        alt=alt,
        says=says,
        png=png(values),
        x=column,
        y=row,
        wide=wide,
        high=high,
    )


def table(caption: str, corner: str, rows: list[str], columns: dict[str, list[str]]) -> Markup:
    """A row for each text, its cells under `columns`; all but the last hold numbers."""
    kinds = [' class="number"'] * (len(columns) - 1) + [""]
    head = Markup().join(
        Markup(f'<th scope="col"{kind}>{{}}</th>').format(title)
        for kind, title in zip(kinds, columns, strict=True)
    )
    body = Markup().join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            row,
            Markup().join(
                Markup(f'<td{kind} data-label="{{}}">{{}}</td>').format(title, cells[k])
                for kind, (title, cells) in zip(kinds, columns.items(), strict=True)
            ),
        )
        for k, row in enumerate(rows)
    )
    return Markup(
        '<div class="arms scroll"><table class="stack"><caption>{}</caption><thead><tr>'
        '<th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(caption, corner, head, body)


def png(image: NDArray[Any]) -> str:
    """`image`, [H, W] or [H, W, C], uint8 or float in 0..1, as base64 PNG."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    buffer = io.BytesIO()
    top = 255 if image.dtype == np.uint8 else 1
    unsigned: Any = {"Software": None}  # keeps matplotlib's version out of the bytes
    imsave(buffer, image, cmap="gray", vmin=0, vmax=top, format="png", metadata=unsigned)
    return base64.b64encode(buffer.getvalue()).decode()
