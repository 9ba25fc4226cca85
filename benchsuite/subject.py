"""Subjects: what is trained, and how a built-in one or a user's own is loaded."""

import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchsuite.data.dataset import Dataset
from benchsuite.data.mixtures import OVER, UNDER, is_mixture
from benchsuite.model_identity import model_identity
from benchsuite.training import ModelFactory, Recipe, template

_MINIATURE = 60


@dataclass(frozen=True)
class Subject:
    """A data set, a model and a training recipe: what a finding is decided about.

    Args:
        name: shown in reports and in file names.
        pool: examples that shadow models are trained on subsets of.
        test: examples that no model is trained on.
        model: makes one untrained `nn.Module` from input batches to logits [batch, classes]. A
            function or class of a module, or a `functools.partial` of one with numbers, strings,
            functions, classes or lists of them, so that source and arguments identify it.
        recipe: how each model is trained.
        share: the part of the pool that each model is trained on.
        validation: examples for early stopping, if the recipe has it.
        model_version: identifies the model where the source cannot: required if `model` is a
            lambda, a closure or a partial of some other object. Change it whenever the model does.

    Raises:
        ValueError: an argument of another kind; a share outside (0, 1); pool and test that differ
            in shape or classes; early stopping without validation examples; augmentation of other
            inputs than images; a lambda or closure without a version; no factory of modules;
            outputs that are no logits.
    """

    name: str
    pool: Dataset
    test: Dataset
    model: ModelFactory
    recipe: Recipe
    share: float = 0.5
    validation: Dataset | None = None
    model_version: str | None = None

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name):
            raise ValueError(
                f"name={self.name!r} becomes part of file names: use letters, digits, '-', '_', '.'"
            )
        for role, expected in (("pool", Dataset), ("test", Dataset), ("recipe", Recipe)):
            given = getattr(self, role)
            if not isinstance(given, expected):
                raise ValueError(
                    f"{role} is a {type(given).__name__}, expected a benchsuite.{expected.__name__}"
                )
        if not isinstance(self.validation, Dataset | None):
            raise ValueError(
                f"validation is a {type(self.validation).__name__}, expected a benchsuite.Dataset "
                "or None"
            )
        if not isinstance(self.share, Real) or not 0 < self.share < 1:
            raise ValueError(
                f"share={self.share!r} must be a number above 0 and below 1: the part of the pool "
                "that each model is trained on"
            )
        object.__setattr__(self, "share", float(self.share))  # a NumPy number is no JSON
        for role in ("test", "validation"):
            other = getattr(self, role)
            if other is None:
                continue
            if other.inputs().shape[1:] != self.pool.inputs().shape[1:]:
                raise ValueError(
                    f"{role} inputs have shape {other.inputs().shape[1:]}, "
                    f"the pool's {self.pool.inputs().shape[1:]}: they must be equal"
                )
            if other.classes > self.pool.classes:
                raise ValueError(
                    f"{role} has {other.classes} classes, the pool {self.pool.classes}: a model "
                    "cannot learn a class that the pool does not hold"
                )
        if self.recipe.early_stopping is not None and self.validation is None:
            raise ValueError(
                f"recipe.early_stopping={self.recipe.early_stopping} watches the validation loss, "
                "but validation is None: give the Subject validation examples"
            )
        if self.recipe.augmentation is not None and self.pool.inputs().ndim != 4:
            raise ValueError(
                f"recipe.augmentation={self.recipe.augmentation} shifts images [n, channels, "
                f"height, width], but the pool's inputs have shape {self.pool.inputs().shape}: use "
                "augmentation=None"
            )
        _check_model(self)
        self.model_identity()

    def model_identity(self) -> dict[str, Any]:
        """What identifies the model: path, arguments, sources, parameter shapes; JSON-able."""
        return model_identity(self.model, self.model_version)

    def identity(self) -> dict[str, Any]:
        """All that a trained model depends on beside its design, seed and id; JSON-able."""
        return {
            "pool": self.pool.digest,
            "validation": None if self.validation is None else self.validation.digest,
            "model": self.model_identity(),
            "recipe": json.loads(json.dumps(asdict(self.recipe))),
        }


def _check_model(subject: Subject) -> None:
    if isinstance(subject.model, nn.Module) or not callable(subject.model):
        raise ValueError(
            f"model is a {type(subject.model).__name__}, expected a function without arguments "
            "that makes a new untrained nn.Module each time"
        )
    try:
        model = template(subject.model)
    except TypeError as error:
        raise ValueError(
            f"model cannot be called without arguments ({error}): bind them with functools.partial"
        ) from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"model makes a {type(model).__name__}, expected a new nn.Module")
    inputs = subject.pool.inputs()[:2]
    try:
        with torch.no_grad():
            logits = model.eval()(torch.from_numpy(inputs))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"model fails on two examples of the pool, inputs of shape {inputs.shape}: {error}"
        ) from error
    expected = (2, subject.pool.classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        got = f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits)
        raise ValueError(
            f"model gives outputs {got} for two examples; expected logits of shape {expected}, one "
            "per class of the pool"
        )


def miniature(subject: Subject) -> Subject:
    """The subject cut down until a CPU can run its path: at most 60 examples a part, one epoch.

    They lie evenly over all examples in order of their labels, so that however the data are sorted
    as many classes stay as can, and of a mixture as many of each group; their number suits the
    share, which some models must be IN for.

    Raises:
        ValueError: a pool with fewer examples than the share has parts, such as 20 for 0.45.
    """
    parts = Fraction(subject.share).limit_denominator(100).denominator
    size = max(parts, min(_MINIATURE, len(subject.pool)) // parts * parts)
    if size > len(subject.pool):
        raise ValueError(
            f"pool has {len(subject.pool)} examples, expected {parts} or more, for each model is "
            f"trained on share={subject.share} of them: give more examples or another share"
        )
    validation = subject.validation
    return replace(
        subject,
        name=f"{subject.name}-miniature",
        pool=_evenly(subject.pool, size),
        test=_evenly(subject.test, min(_MINIATURE, len(subject.test))),
        validation=validation and _evenly(validation, min(_MINIATURE, len(validation))),
        recipe=replace(subject.recipe, epochs=1),
    )


def _evenly(data: Dataset, size: int) -> Dataset:
    """`size` examples evenly over the data in order of label, the first and the last with them.

    Of a mixture as many from each of its groups, as far as the smaller one has them.
    """
    by_label = np.argsort(data.labels, kind="stable")
    if not is_mixture(data):
        return data.subset(np.sort(_spread(by_label, size)))
    under = by_label[data.groups[by_label] == UNDER]
    over = by_label[data.groups[by_label] == OVER]
    of_under = min(max(size // 2, size - len(over)), len(under))
    return data.subset(np.sort([*_spread(under, of_under), *_spread(over, size - of_under)]))


def _spread(positions: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    return positions[np.linspace(0, len(positions) - 1, count, dtype=int)]


BUILT_IN = {
    name: f"benchsuite.subjects:{name.replace('-', '_')}"
    for name in (
        "digits-mlp",
        "digits-cnn",
        "digits-tiny",
        "digits-pixmix",
        "digits-photos",
        "digits-mix-tiny",
        "breast-cancer-mlp",
        "docstrings-mlp",
        "digits28-mlp",
        "digits28-tiny",
        "mnist-mlp-small",
        "mnist-cnn32",
        "mnist-augmnist-cnn32",
        "mnist-svhn-cnn32",
        "mnist-usps-cnn32",
        "mnist-cifar10-cnn64",
        "mnist-mlp",
        "mnist-cnn1",
        "fashion-mnist-mlp",
        "fashion-mnist-cnn1",
        "cifar10-resnet9",
        "cifar10-resnet9-70",
        "cifar10-augcifar10-resnet18",
        "cifar10-cifar100-resnet9",
        "cifar10-cnn2",
        "cifar10-densenet",
        "cifar100-resnet9",
    )
}
"""Where the function that makes each built-in subject lies."""


def load_subject(name: str) -> Subject:
    """The subject of a built-in name or of "module:attribute".

    The attribute is a `Subject` or a function without arguments that returns one.

    Raises:
        ValueError: an unknown name, a module or attribute that is not there, or something else
            than a Subject.
    """
    subject = load_attribute("subject", name, BUILT_IN)
    if not isinstance(subject, Subject):
        raise ValueError(
            f"subject {name!r} is a {type(subject).__name__}; expected a benchsuite.Subject or a "
            "function that returns one"
        )
    return subject


def load_attribute(role: str, name: str, built_in: Mapping[str, str]) -> Any:
    """What lies at a built-in name or at "module:attribute"; a function there is called.

    Args:
        role: what it is, for messages.
        name: built-in, or "module:attribute".
        built_in: "module:attribute" by name.

    Raises:
        ValueError: an unknown name, a module or attribute that is not there, a function with
            arguments.
    """
    path = built_in.get(name, name)
    module_name, _, attribute = path.partition(":")
    if not (module_name and attribute):
        raise ValueError(
            f"{role} {name!r} is unknown: use one of {', '.join(built_in)}, or module:attribute"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{role} {name!r}: cannot import {error.name!r}; run pytest where `import "
            f"{module_name}` works, for example from the folder that holds it"
        ) from error
    if not hasattr(module, attribute):
        raise ValueError(f"{role} {name!r}: module {module_name!r} has no {attribute!r}")
    found = getattr(module, attribute)
    if inspect.isroutine(found):
        if inspect.signature(found).parameters:
            raise ValueError(
                f"{role} {name!r} takes arguments; expected a function without arguments"
            )
        return found()
    return found
