"""A matplotlib figure as a small inline SVG that takes its colours and its font from the page."""

import io
import re
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

# Stand-ins that matplotlib draws with and that become CSS, so that one SVG serves light and dark.
INK = "#000001"
QUIET = "#000002"
SERIES = tuple(f"#a0000{k}" for k in range(1, 7))
_CSS = {INK: "currentColor", QUIET: "var(--quiet)"} | {
    colour: f"var(--series-{k})" for k, colour in enumerate(SERIES, start=1)
}

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchsuite",
    "text.parse_math": False,
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": QUIET,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
}


def style() -> AbstractContextManager[None]:
    """The settings under which a figure has to be both built and rendered."""
    return mpl.rc_context(_STYLE)


def render(figure: Figure, name: str, alt: str) -> Markup:
    """`figure` as an <svg> element; `name` keeps its ids apart, `alt` is read out in its place."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None, "matplotlib writes a viewBox"
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Its style element would apply to the whole page; report.css has the same for .plot alone.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r'style="([^"]*)"', lambda found: _restyled(found[1]), body)
    body = _shared_markers(_own_ids(body.replace("xlink:href", "href"), name))
    body = re.sub(
        r'\b(d|x|y|width|height|transform)="[^"]*"', lambda found: _shortened(found[0]), body
    )
    body = re.sub(r">\s+<", "><", body).strip()
    opening = f'<svg class="plot" viewBox="{box[1]}" role="img" aria-label="{escape(alt)}">'
    return Markup(opening + body)


def _restyled(css: str) -> str:
    css = re.sub(r"font-family: [^;]*;? ?", "", css)
    css = re.sub(r"font: ([\d.]+px) [^;]*", r"font-size: \1", css)
    for colour, variable in _CSS.items():
        css = css.replace(colour, variable)
    return f'style="{css}"'


def _own_ids(body: str, name: str) -> str:
    """Only ids that something refers to, numbered under `name`: a page holds many figures."""
    used = dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    new = {old: f"{name}-{k}" for k, old in enumerate(used)}
    body = re.sub(
        r' id="([^"]+)"', lambda found: f' id="{new[found[1]]}"' if found[1] in new else "", body
    )
    return re.sub(r'(url\(#|href="#)([^")]+)', lambda found: found[1] + new[found[2]], body)


def _shared_markers(body: str) -> str:
    """Each marker styled once where it is defined, and not at every one of 2,000 points."""
    styles: dict[str, set[str]] = {}
    uses = re.compile(r'<use href="#([^"]+)"([^>]*?) style="([^"]*)"/>')
    for marker, _, css in uses.findall(body):
        styles.setdefault(marker, set()).add(css)
    for marker, found in styles.items():
        if len(found) == 1:
            styled = rf'\1 style="{found.pop()}"'
            body = re.sub(rf'(<path id="{marker}" d="[^"]*")(?: style="[^"]*")?', styled, body)
            body = re.sub(rf'(<use href="#{marker}"[^>]*?) style="[^"]*"/>', r"\1/>", body)
    return body


def _shortened(attribute: str) -> str:
    return re.sub(r"(\d+\.\d\d)\d+", r"\1", attribute).replace("\n", " ")
