"""Arrays behind the pictures of unique features, each of a `CanaryExperiment`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchsuite.data.canaries import LETTERS
from benchsuite.experiments.canaries import LEVEL, CanaryExperiment
from benchsuite.experiments.canary_banks import CONVOLUTIONAL, MOMENTS, PLAIN, UNIFORM, UNIQUE
from benchsuite.experiments.canary_models import NO_CANARY, CanaryModels
from benchsuite.experiments.pictures import pictures
from benchsuite.experiments.regularisers import EARLY, REGULARISERS
from benchsuite.shadows import train_again
from benchsuite.stats.intervals import unit_interval
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.training import template

Arrays = dict[str, Any]
Floats = NDArray[np.float64]

SHOWN_CANARIES, SHOWN_FOREIGN, SHOWN_MAPS = 16, 4, 4
ALPHA = 0.05
IN_PAPER = {
    PLAIN: "MNIST .0013, F-MNIST .0093",
    "dropout": "MNIST .02, F-MNIST .025",
    "augmentation": "MNIST .0033, F-MNIST .0065",
    "both": "MNIST .0013, F-MNIST .029",
    "batch norm": "MNIST .039, F-MNIST .00097",
    CONVOLUTIONAL: "MNIST .012, F-MNIST .028",
}
"""Mean M over M > 0 of its MLPs, Tables 1 and 3; of CNN-1, Table 2."""


def _canaries(experiment: CanaryExperiment) -> Arrays | None:
    """Canaries of high self-influence, and images of another origin (Figures 2 and 3)."""
    pool = experiment.stamped.pool.images
    chosen = experiment.high.T.ravel()[:SHOWN_CANARIES]
    copies = experiment.copies[:, : experiment.size.of_each].T.ravel()[:SHOWN_CANARIES]
    shown, probe = pictures(pool[copies]), pictures(experiment.probe.images)
    if shown is None or probe is None:
        return None
    found = experiment.share_of_models_found().reshape(experiment.chosen.shape)
    images = experiment.size.images
    groups = [0, 1 + UNIQUE, 1 + UNIFORM]
    rows = [[group * images + k for group in groups] for k in range(min(SHOWN_FOREIGN, images))]
    return {
        "canaries": shown,
        "canary_labels": experiment.subject.pool.labels[chosen],
        "influence": experiment.influence[chosen],
        "found": found[:, : experiment.size.of_each].T.ravel()[:SHOWN_CANARIES],
        "ood": probe[np.array(rows)],
    }


def _influence_score(experiment: CanaryExperiment) -> Arrays:
    """Effect of each canary against its self-influence (Figure 4)."""
    influence = experiment.influence[experiment.chosen].ravel()
    effect = np.mean(experiment.effects_by_block(), axis=0)
    numbers = list(experiment.influence_and_memorization())
    return {
        "influence": influence,
        "effect": effect,
        "found": experiment.share_of_models_found(),
        "letter": np.repeat(np.arange(len(experiment.letters)), experiment.chosen.shape[1]),
        "pearson": np.array(np.corrcoef(influence, effect)[0, 1]),
        "spearman": np.array(spearmanr(influence, effect).statistic),
        "reliability": np.array(np.mean([each["reliability"] for each in numbers])),
    }


def _along_training(experiment: CanaryExperiment) -> Arrays:
    """Share found and told apart while early-stopped models train, beside their validation loss."""
    bank = experiment.arm_bank(EARLY)
    watched = np.array(experiment.epochs_watched)
    losses = np.stack([bank.column("validation", "loss", epoch=e).mean(axis=1) for e in watched])
    rows: list[tuple[float, ...]] = []
    for epoch in MOMENTS:
        running = np.isfinite(losses[epoch - 1])
        if running.mean() < 0.5:
            break
        models = experiment.scores(bank, epoch)
        loss = float(losses[epoch - 1, running].mean())
        apart, found = models.told_apart().mean(), models.share_found().mean()
        rows.append((epoch, loss, float(apart), float(found), float(running.mean())))
    names = "epoch", "validation_loss", "apart", "found", "running"
    arrays: Arrays = dict(zip(names, np.array(rows).T, strict=True))
    return {**arrays, "best_epochs": experiment.best_epochs()}


def _regularisers(experiment: CanaryExperiment) -> Arrays:
    """Under each regulariser what is found, the paper's score, accuracy, and clean models' share.

    Those that the subject does not take, or that have too few models, are left out.
    """
    rows = {PLAIN: _of_arm(experiment.plain)}
    for name in (*REGULARISERS, CONVOLUTIONAL):
        try:
            rows[name] = _of_arm(experiment.arm(name))
        except CannotResolveError:
            continue
    arrays: Arrays = {name: np.array([row[name] for row in rows.values()]) for name in rows[PLAIN]}
    return {
        "arms": np.array(list(rows)),
        **arrays,
        "paper": np.array([IN_PAPER.get(name, "") for name in rows]),
    }


def _of_arm(models: CanaryModels) -> dict[str, float]:
    found, apart = models.share_found(), models.told_apart()
    clean, trained = (
        models.present == NO_CANARY,
        (models.present >= 0) & (models.present < models.high),
    )
    of_found, of_apart = unit_interval(found, ALPHA), unit_interval(apart, ALPHA)
    m, stand_ins = models.m[trained], models.with_clean_stand_ins()
    return {
        "found": float(found.mean()),
        "found_low": of_found.low,
        "found_high": of_found.high,
        "apart": float(apart.mean()),
        "apart_low": of_apart.low,
        "apart_high": of_apart.high,
        "mean_positive": float(m[m > 0].mean()) if (m > 0).any() else np.nan,
        "mean_all": float(m.mean()),
        "accuracy": float(models.accuracy.mean()),
        "clean_found": float(stand_ins.found()[stand_ins.present >= 0].mean()),
        "clean_alarm": float((models.p_values()[clean] < LEVEL).mean()),
    }


def _by_letter(experiment: CanaryExperiment) -> Arrays:
    """Of each letter at its place the share found, and what its clean models make of it."""
    models, letters = experiment.plain, experiment.letters
    found, p, clean = models.found(), models.p_values(), models.present == NO_CANARY
    rows = []
    for letter, (feature, present) in enumerate(zip(letters, models.present.T, strict=True)):
        of_canaries = [found[present == canary, letter].mean() for canary in range(models.high)]
        share, unseen = unit_interval(of_canaries, ALPHA), clean[:, letter]
        rows.append(
            {
                "rows": feature.row,
                "columns": feature.column,
                "found": share.estimate,
                "found_low": share.low,
                "found_high": share.high,
                "clean_alarm": (p[unseen, letter] < LEVEL).mean(),
                "clean_effect": models.effects[unseen, letter].mean(),
            }
        )
    arrays: Arrays = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {"letters": np.array(list(LETTERS[: len(letters)])), **arrays}


def _where_it_looks(experiment: CanaryExperiment) -> Arrays | None:
    """Which pixels a model with the canary looks at once the letter is there, and a clean model.

    By the gradient of the divergence between its outputs on the clean image and on the stamped one,
    with respect to the stamped image: its mean over images, as a share of the whole. Of the letters
    that move their models most, one model each.
    """
    models, probe = experiment.plain, experiment.probe.inputs()
    count = experiment.size.images
    glyphs = len(probe) // count - 1
    shown = pictures(experiment.probe.images)
    if shown is None:
        return None
    p = np.where(models.present >= 0, models.p_values(), np.inf)
    best = np.argsort(p.min(axis=0), kind="stable")[:SHOWN_MAPS]
    clean = models.present == NO_CANARY
    # One clean model of all these letters, where there is one: each has to be trained again.
    cleanest = np.argsort(-clean[:, best].sum(axis=1), kind="stable")
    pairs = [
        (letter, int(p[:, letter].argmin()), int(cleanest[clean[cleanest, letter].argmax()]))
        for letter in best
    ]
    networks = _networks(experiment, sorted({model for _, *two in pairs for model in two}))
    images, gradients, places, share = [], [], [], []
    for letter, *two in pairs:
        at = (1 + letter * (glyphs // len(experiment.letters)) + UNIQUE) * count
        maps = [_gradient(networks[k], probe[:count], probe[at : at + count]) for k in two]
        feature = experiment.letters[letter]
        (height, width), row, column = feature.glyph.shape, feature.row, feature.column
        under = np.s_[row : row + height, column : column + width]
        images.append(shown[at])
        gradients.append(maps)
        places.append((row, column, height, width))
        share.append([float(each[under].sum()) for each in maps])
    return {
        "images": np.array(images),
        "gradients": np.array(gradients),
        "places": np.array(places),
        "share": np.array(share),
    }


def _networks(experiment: CanaryExperiment, models: list[int]) -> dict[int, torch.nn.Module]:
    """Some of the plain models, trained once more, by number."""
    subject, networks = experiment.stamped, {}
    weights = train_again(experiment.bank, subject, models)
    for model in models:
        networks[model] = template(subject.model).eval()
        networks[model].load_state_dict(weights[model])
    return networks


def _gradient(network: torch.nn.Module, clean: NDArray[Any], stamped: NDArray[Any]) -> Floats:
    """Absolute gradient of KL(f(clean) || f(stamped)) over images and channels, of sum 1."""
    images = torch.tensor(stamped, requires_grad=True)
    with torch.no_grad():
        of_clean = network(torch.tensor(clean)).log_softmax(1)
    divergence = (of_clean.exp() * (of_clean - network(images).log_softmax(1))).sum()
    (gradient,) = torch.autograd.grad(divergence, images)
    summed: Floats = gradient.abs().sum(dim=(0, 1)).double().numpy()
    return summed / (summed.sum() or 1)


def _clean_null(experiment: CanaryExperiment) -> Arrays:
    """Effects in clean models and in those with canaries, in deviations of the clean ones."""
    models = experiment.plain
    clean = models.present == NO_CANARY
    tested = (models.present >= 0) & (models.present < models.high)
    of_clean = np.where(clean, models.effects, np.nan)
    scale = np.nanstd(of_clean, axis=0, ddof=1)
    standardised = (models.effects - np.nanmean(of_clean, axis=0)) / scale
    return {
        "effects": standardised[clean],
        "canary": standardised[tested],
        "sign_fails": np.array((models.m[clean] > 0).mean()),
        "rank_fails": np.array((models.rank_p[clean] <= LEVEL).mean()),
        "alarm": np.array((models.p_values()[clean] < LEVEL).mean()),
        "level": np.array(LEVEL),
    }


ARRAYS: dict[str, Callable[[CanaryExperiment], Arrays | None]] = {
    "canaries": _canaries,
    "influence-score": _influence_score,
    "along-training": _along_training,
    "regularisers": _regularisers,
    "by-letter": _by_letter,
    "where-it-looks": _where_it_looks,
    "clean-null": _clean_null,
}
"""By kind of figure."""
