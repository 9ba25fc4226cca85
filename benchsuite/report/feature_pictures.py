"""Figures of single unique features: canaries, their self-influence, which pixels move models."""

from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.drawing import Arrays, Drawing, numbers
from benchsuite.report.feature_figures import FOUND, shares
from benchsuite.report.wording import minus, number, percent


def _canaries(arrays: Arrays, name: str) -> Drawing:
    """The canaries, most self-influence first, and the images that models are asked about."""
    images, ood = _images(arrays, "canaries", 1), _images(arrays, "ood", 2)
    labels = numbers(arrays, "canary_labels", images.shape[:1])
    influence = numbers(arrays, "influence", labels.shape)
    found = shares(arrays, "found", labels.shape)
    if ood.shape[1] != 3:
        raise ValueError(f"ood has shape {ood.shape}, expected [m, 3, height, width]")
    canaries = []
    for k in np.argsort(-influence, kind="stable"):
        says = f"label {labels[k]:.0f}", f"found in {_whole(found[k])}"
        alt = f"canary, {says[0]}, self-influence {number(influence[k])}, {says[1]} of its models"
        canaries.append(canvas.picture(images[k], alt, Markup("{}<br>{}").format(*says)))
    columns = ("clean", "with the letter", "with a random feature")
    return Drawing(
        (
            Markup('<div class="gallery"><h4>{}</h4><div>{}</div></div>').format(
                "Canaries, from most to least self-influence", Markup().join(canaries)
            ),
            canvas.rows(
                "What models are asked about",
                columns,
                [[canvas.picture(*each) for each in zip(row, columns, strict=True)] for row in ood],
            ),
        ),
        "A canary is a training image with a letter that no other image has. Below each is its "
        f"label and the share of the models trained on it in which its letter is found. {FOUND} "
        "Self-influence is how much training on the image lowers the loss on that same image: high "
        "for odd ones. Models are asked about images of another origin: clean, with the letter, "
        "and with random pixels in its place.",
    )


def _influence_score(arrays: Arrays, name: str) -> Drawing:
    """Each canary's effect against its self-influence."""
    influence = numbers(arrays, "influence")
    if influence.ndim != 1 or not influence.size or not (influence > 0).all():
        raise ValueError("influence is not a list of values above 0, as a logarithmic axis needs")
    effect, letter = (numbers(arrays, each, influence.shape) for each in ("effect", "letter"))
    found = shares(arrays, "found", influence.shape) >= 0.5
    pearson, spearman, reliability = (
        float(numbers(arrays, each, ())) for each in ("pearson", "spearman", "reliability")
    )
    figure, axes = canvas.axes("Self-influence (log scale)", "Effect (standard deviations)", 3.9)
    axes.set_xscale("log")
    axes.axhline(0, color=svg.QUIET, linewidth=0.8, alpha=0.6)
    label = "straight line fitted to a letter"
    for each in np.unique(letter):
        x, y = np.log(influence[letter == each]), effect[letter == each]
        if np.ptp(x) > 0:
            slope = (x - x.mean()) @ y / ((x - x.mean()) @ x)
            ends = np.array([x.min(), x.max()])
            line = y.mean() + slope * (ends - x.mean())
            axes.plot(np.exp(ends), line, color=svg.QUIET, lw=0.9, alpha=0.7, label=label)
            label = "_"  # one entry in the legend for all of them
    half = "" if arrays["found"].dtype == bool else " in half of its models or more"
    fewer = "not found" if arrays["found"].dtype == bool else "found in fewer"
    for which, says, fill, colour in (
        (found, f"found{half}", svg.SERIES[0], svg.SERIES[0]),
        (~found, fewer, "none", svg.SERIES[1]),
    ):
        dots: Any = {"marker": "os"[fill == "none"], "ls": "", "ms": 4.6, "mew": 1.1}
        axes.plot(influence[which], effect[which], mfc=fill, mec=colour, label=says, **dots)
    low, high = influence.min(), influence.max()
    margin = max(1.3, float(np.sqrt(10 * low / high)))  # a decade at least, so that it has ticks
    axes.set_xlim(low / margin, high * margin)
    places = canvas.round_steps(*axes.get_xlim())
    axes.xaxis.set_major_locator(FixedLocator(places[:: -(-len(places) // 6) or 1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: canvas.tick(value)))
    note = minus(f"Pearson {pearson:.2f}, Spearman {spearman:.2f}, reliability {reliability:.2f}")
    canvas.legend(axes, title=note)
    alt = (
        f"Effect of {len(effect)} canaries against their self-influence; {note}; {found.sum()} "
        f"found{half}"
    )
    return Drawing(
        (svg.render(figure, name, alt),),
        "Each mark is one canary: how much training on its image lowers the loss on that image "
        "(right), and what its letter does (up): how much more, in standard deviations, models "
        "trained on it react to the letter than models that never saw it do. Correlations are 1 "
        "where one tells the other, by a straight line (Pearson) or by rank (Spearman), and 0 "
        "where it tells nothing; reliability is how well other models would give the same effects, "
        "so that a low correlation beside a high one is not for want of models.",
    )


def _where_it_looks(arrays: Arrays, name: str) -> Drawing:
    """An image with the letter, and how much each pixel matters to two models."""
    images = _images(arrays, "images", 1)
    count, height, width = images.shape[:3]
    gradients = numbers(arrays, "gradients", (count, 2, height, width))
    places = numbers(arrays, "places", (count, 4)).astype(int)
    share = shares(arrays, "share", (count, 2))
    if (gradients < 0).any():
        raise ValueError("gradients holds values below 0, expected absolute ones")
    corner, size = places[:, :2], places[:, 2:]
    if (corner < 0).any() or (size < 1).any() or (corner + size > (height, width)).any():
        raise ValueError(f"places holds one that is not inside an image of {height} x {width}")
    models = "a model trained on the letter", "a model that never saw it"
    rows = []
    for k, image in enumerate(images):
        scaled = gradients[k] / (gradients[k].max() or 1)
        maps = [
            canvas.outlined(
                scaled[which],
                places[k],
                f"how much each pixel matters to {model}",
                f"{100 * share[k, which]:.1f}\u00a0% under the letter",
            )
            for which, model in enumerate(models)
        ]
        rows.append([canvas.picture(image, "image with the letter"), *maps])
    covered = size.prod(axis=1).mean() / (height * width)
    trained, clean = (percent(each) for each in share.mean(axis=0))
    return Drawing(
        (canvas.rows("Where models look", ("image with the letter", *models), rows),),
        "How much a small change of each pixel would change a model's reaction to the letter, over "
        "many images, of which one is shown (white: most; every map adds up to the same, and both "
        "of a row have one scale). Under the letter, which is outlined, lie on average "
        f"{trained} of it in models trained on the letter and {clean} in models that never saw "
        f"it; were all pixels alike it would be {percent(covered)}, the share of the image that "
        "the letter covers.",
    )


def _images(arrays: Arrays, name: str, before: int) -> NDArray[Any]:
    """Grey or coloured images after so many axes, uint8 or float from 0 to 1."""
    images = arrays[name]
    axes = images.shape[before:]
    if not images.size or len(axes) not in (2, 3) or axes[2:] not in ((), (3,)):
        raise ValueError(
            f"{name} has shape {images.shape}, expected {before} axes before height and width"
        )
    if images.dtype != np.uint8:
        numbers(arrays, name)
        if images.dtype.kind != "f" or images.min() < 0 or images.max() > 1:
            raise ValueError(f"{name} holds neither uint8 nor floats from 0 to 1")
    return images


def _whole(share: float) -> str:
    """A share in whole percent that does not break over lines."""
    return percent(round(share, 2)).replace(" ", "\u00a0")


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "canaries": _canaries,
    "influence-score": _influence_score,
    "where-it-looks": _where_it_looks,
}
"""Drawing functions by kind of artifact."""
