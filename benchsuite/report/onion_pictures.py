"""Pictures of the onion: exposed examples, duplicates, targets and what masked them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg, svm_onion
from benchsuite.report.drawing import LINES, Arrays, Drawing, numbers, texts
from benchsuite.report.wording import minus, number, percent

MOST_STEPS = 300


def _gallery(arrays: Arrays, name: str) -> Drawing:
    labels, classes = arrays["labels"], int(arrays["classes"])
    panels = []
    for which in ("most", "least"):
        images = arrays[which]
        if images.ndim not in (4, 5) or images.shape[1] != len(labels):
            raise ValueError(f"{which} {images.shape} and labels {labels.shape} do not fit")
        advantage = numbers(arrays, f"{which}_advantage", images.shape[:2])
        items = [Markup("<b>{}</b>").format(label) for label in labels] + [
            _figure(
                images[row, column],
                f"class {label}, advantage {canvas.short_share(advantage[row, column])}",
                canvas.short_share(advantage[row, column]),
            )
            for row in range(len(images))
            for column, label in enumerate(labels)
        ]
        panels.append(
            Markup(
                '<div class="gallery classes"><h4>{} exposed of each class</h4>'
                '<div style="--columns: {}">{}</div></div>'
            ).format(which.capitalize(), len(labels), Markup().join(items))
        )
    some = f" ({len(labels)} of the {classes} classes)" if len(labels) < classes else ""
    return Drawing(
        tuple(panels),
        f"Each column is one class{some}, named above it; under each training image is the "
        "attack's advantage on it: 1 where the attack always tells whether a model was trained on "
        "the image, 0 where it only guesses, and a little below 0 by chance. What is easiest to "
        "attack is expected to look odd for its class, and what is hardest to look typical.",
    )


def _duplicate_clusters(arrays: Arrays, name: str) -> Drawing:
    size = arrays["size"]
    before, after = (numbers(arrays, each, (len(size),)) for each in ("before", "after"))
    images, cluster, planted = (arrays[each] for each in ("images", "cluster", "planted"))
    if not len(images) == len(cluster) == len(planted) or images.ndim not in (3, 4):
        raise ValueError(
            f"images {images.shape}, cluster {cluster.shape} and planted {planted.shape} do not fit"
        )
    panels = []
    for k, many in enumerate(size):
        members = np.flatnonzero(cluster == k)
        says = [_kind_of(images, planted, members[0], each) for each in members]
        more = f", {len(members)} of {many} shown" if len(members) < many else ""
        panels.append(
            Markup('<div class="gallery cluster"><div>{}</div><p>{}</p></div>').format(
                Markup().join(
                    _figure(images[at], f"cluster {k + 1}, {what}", what)
                    for at, what in zip(members, says, strict=True)
                ),
                f"advantage {canvas.short_share(before[k])} → {canvas.short_share(after[k])}{more}",
            )
        )
    found, planted_found, planted_in_all = (
        int(arrays[each]) for each in ("found", "planted_found", "planted_in_all")
    )
    return Drawing(
        tuple(panels),
        f"{len(size)} of the {found:,} clusters of look-alikes in a pool with planted copies, of "
        f"which {planted_found:,} of {planted_in_all:,} were found. Below each cluster is the "
        "attack's advantage on the original with its copies in the pool, and after all but the "
        "original are removed: where that raises it, the copies had masked the original.",
    )


def _kind_of(images: NDArray[Any], planted: NDArray[Any], first: np.intp, at: np.intp) -> str:
    if at == first:
        return "original"
    near = "" if np.array_equal(images[at], images[first]) else "near "
    return f"{'planted' if planted[at] else 'natural'} {near}copy"


def _unlearning(arrays: Arrays, name: str) -> Drawing:
    names = texts(arrays, "names")
    mean, worst = (numbers(arrays, each, (len(names),)) for each in ("mean", "worst"))
    removed, share = int(arrays["removed"]), float(arrays["share"])
    figure, axes = canvas.axes(
        "Rise of an example's advantage", "Examples that rise more (log scale)", height=3.8
    )
    found = []
    for k, what in enumerate(names):
        rise = numbers(arrays, f"rise_{k}")
        if not len(rise):
            raise ValueError(f"rise_{k} holds no example")
        says = f"mean {_signed(mean[k])}, worst {percent(share)} {_signed(worst[k])}"
        axes.plot(
            *_reaching(rise),
            drawstyle="steps-post",
            color=svg.SERIES[k % 6],
            linestyle=LINES[k % 6],
            label=f"{what}:\n{says}",
        )
        found.append(f"{what}: {says}")
    axes.axhline(share, color=svg.QUIET, linewidth=0.8, alpha=0.6)
    axes.axvline(0, color=svg.QUIET, linewidth=0.8, alpha=0.6)
    axes.text(
        1,
        share,
        f"worst {percent(share)}",
        transform=axes.get_yaxis_transform(),
        color=svg.QUIET,
        fontsize=9,
        ha="right",
        va="bottom",
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([1e-4, 1e-3, 1e-2, 1e-1, 1]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    canvas.legend(axes, title=f"{removed:,} examples are unlearned:")
    alt = f"Share of the other examples by how much their advantage rises; {'; '.join(found)}"
    return Drawing(
        (svg.render(figure, name, alt),),
        "How much easier to attack the examples that stay become (right), and which share of them "
        "becomes easier by more than that (up), once others are unlearned by training anew without "
        "them. The curve for random examples shows what chance does alone in finitely many "
        f"models. The worst {percent(share)} are chosen on other models than those that measure "
        "them, so that chance does not raise their mean.",
    )


def _reaching(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """At most 300 of the values, falling, and the share of all that reach each."""
    steps = np.unique(np.geomspace(1, len(values), MOST_STEPS).round().astype(int))
    return np.sort(values)[::-1][steps - 1], steps / len(values)


def _locality(arrays: Arrays, name: str) -> Drawing:
    names = texts(arrays, "names")
    removed = numbers(arrays, "removed", (len(names),))
    group, before = arrays["group"], numbers(arrays, "before", arrays["group"].shape)
    after = numbers(arrays, "after", group.shape)
    whole, layer = float(numbers(arrays, "whole_layer", ())), int(arrays["layer"])
    figure, axes = canvas.axes("", "Advantage of the attack on a target", height=3.9)
    found = []
    for k, each in enumerate(names):
        members = group == k
        if not members.any():
            raise ValueError(f"group holds no target of the {each}")
        ends = np.array([before[members], after[members]])
        axes.plot([k - 0.22, k + 0.22], ends, color=svg.QUIET, linewidth=0.8, alpha=0.6, zorder=1)
        axes.plot(np.full(members.sum(), k - 0.22), ends[0], "o", ms=4.2, color=svg.SERIES[0])
        axes.plot(np.full(members.sum(), k + 0.22), ends[1], "s", ms=4.2, color=svg.SERIES[1])
        means = ends.mean(axis=1)
        for side, mean in zip((-0.22, 0.22), means, strict=True):
            axes.plot([k + side - 0.12, k + side + 0.12], [mean, mean], color=svg.INK, linewidth=2)
        found.append(
            f"{each}: mean {number(means[0])} before, {number(means[1])} without {removed[k]:.0f}"
        )
    axes.plot([-0.4, 0.4], [whole, whole], color=svg.INK, linestyle=(0, (3, 2)), linewidth=1.4)
    for marker, colour, says in (
        ("o", svg.SERIES[0], "a target before"),
        ("s", svg.SERIES[1], "the same target without what masks it"),
    ):
        axes.plot([], [], marker, ms=4.2, color=colour, label=says)
    axes.plot([], [], color=svg.INK, linewidth=2, label="mean of a group")
    axes.plot(
        [],
        [],
        color=svg.INK,
        linestyle=(0, (3, 2)),
        linewidth=1.4,
        label=f"mean without the whole layer of {layer:,}",
    )
    axes.set_xticks(
        range(len(names)),
        [
            f"{each.replace(' ', chr(10), 1)}\n{removed[k]:.0f} removed"
            for k, each in enumerate(names)
        ],
    )
    axes.tick_params(axis="x", length=0)
    axes.axhline(0, color=svg.QUIET, linewidth=0.8, alpha=0.6)
    axes.set_ylim(top=1.04)
    canvas.legend(axes)
    alt = (
        f"Advantage before and after a removal; {'; '.join(found)}; second layer without the whole "
        f"layer of {layer}: {number(whole)}"
    )
    return Drawing(
        (svg.render(figure, name, alt),),
        "Each line is one training example, attacked before (left) and after (right) the few"
        " others that mask it most are removed. If the onion is local, a few neighbours do to the "
        "second layer much of what removing the whole first does (dashed), and examples drawn at "
        "random, or called safe, have no neighbours that matter so.",
    )


def _unlearning_example(arrays: Arrays, name: str) -> Drawing:
    image, neighbours, labels = (
        arrays[each] for each in ("image", "neighbours", "neighbour_labels")
    )
    if image.ndim not in (2, 3) or neighbours.shape != (len(labels), *image.shape):
        raise ValueError(
            f"image {image.shape}, neighbours {neighbours.shape} and neighbour_labels "
            f"{labels.shape} do not fit"
        )
    before, after, safe, exposed = (
        float(numbers(arrays, each, ())) for each in ("before", "after", "safe", "exposed")
    )
    label, removed = arrays["label"], int(arrays["removed"])
    was, now = (_state(advantage, safe, exposed) for advantage in (before, after))
    if was == now:
        now = f"more {now}" if after > before and was == "exposed" else f"still {now}"
    deleted = Markup().join(
        _figure(each, f"deleted image of class {of}", f"label {of}")
        for each, of in zip(neighbours, labels, strict=True)
    )
    some = f" ({len(labels)} shown)" if len(labels) < removed else ""
    return Drawing(
        (
            _target(image, f"This image was {was}", f"target of class {label}, before", before),
            Markup('<div class="gallery deleted"><h4>{}</h4><div>{}</div></div>').format(
                f"Then {removed} others were deleted{some}", deleted
            ),
            _target(image, f"Now it is {now}", f"target of class {label}, after", after),
        ),
        "One person's data can become easy to attack because others have theirs deleted. Of "
        f"{int(arrays['targets'])} examples that removing the first layer exposes, this is the one "
        "that its own neighbours expose most: those whose absence from training makes the attack "
        "on it succeed most often (and at most one other, so that half of the rest is a whole "
        "number). How often the attack is right is counted over models of which "
        "half were trained on the image; guessing gives 50 %.",
    )


def _state(advantage: float, safe: float, exposed: float) -> str:
    if advantage <= safe:
        return "safe"
    return "nearly safe" if advantage < exposed else "exposed"


def _target(image: NDArray[Any], title: str, alt: str, advantage: float) -> Markup:
    right = percent(round((1 + advantage) / 2, 2)).replace(" ", "\u00a0")
    says = (
        f"The attack is right about {right} of the models: advantage "
        f"{canvas.short_share(advantage)}."
    )
    return Markup('<div class="gallery target"><h4>{}</h4><div>{}</div></div>').format(
        title, _figure(image, f"{alt}: advantage {canvas.short_share(advantage)}", says)
    )


def _figure(image: NDArray[Any], alt: str, says: str) -> Markup:
    return Markup(
        '<figure><img src="data:image/png;base64,{}" alt="{}"><figcaption>{}</figcaption></figure>'
    ).format(canvas.png(image), alt, says)


def _signed(value: float) -> str:
    return minus(f"{round(value, 3) + 0.0:+.3f}")


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "onion-gallery": _gallery,
    "duplicate-clusters": _duplicate_clusters,
    "unlearning": _unlearning,
    "locality": _locality,
    "unlearning-example": _unlearning_example,
    "svm-onion": svm_onion.machines,
}
"""Drawing functions by kind of artifact."""
