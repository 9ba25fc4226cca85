"""Subjects: what is trained. The built-in ones, and how a user's own is loaded."""

import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchsuite.data import sources
from benchsuite.data.dataset import Dataset
from benchsuite.model_identity import model_identity
from benchsuite.models import cnn32, mlp, resnet9
from benchsuite.models import digits_cnn as small_cnn
from benchsuite.training import Augmentation, ModelFactory, Recipe, template

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


def digits_mlp() -> Subject:
    """scikit-learn's handwritten digits and a 64-128-10 MLP: the laptop's subject."""
    pool, test = sources.digits()
    return Subject("digits-mlp", pool, test, partial(mlp, 64, 128, 10), Recipe(epochs=50))


def digits_cnn() -> Subject:
    """scikit-learn's handwritten digits and a small convolutional network."""
    pool, test = sources.digits()
    return Subject("digits-cnn", pool, test, small_cnn, Recipe(epochs=20, learning_rate=0.1))


def digits_tiny() -> Subject:
    """300 digits and a 64-32-10 MLP: for smoke runs, which decide nothing."""
    pool, test = sources.digits()
    return Subject(
        "digits-tiny", pool.subset(range(300)), test, partial(mlp, 64, 32, 10), Recipe(epochs=30)
    )


def mnist_cnn32() -> Subject:
    """MNIST and LiRA's CNN32 on 70 % subsets: the membership paper's own setting."""
    pool, test = sources.load("mnist")
    return Subject(
        "mnist-cnn32",
        pool,
        test,
        partial(cnn32, 1, 28, 10),
        Recipe(epochs=20, batch_size=128, learning_rate=0.1, weight_decay=5e-4),
        share=0.7,
    )


def cifar10_resnet9() -> Subject:
    """CIFAR-10 and ffcv's ResNet-9 on 50 % subsets: the pipeline that the onion paper cites.

    Kept of ffcv's recipe: epochs, batch, momentum, weight decay, shift and mirror image, and the
    learning rate 0.5, there the peak of a triangle after 5 epochs, here where a cosine begins.
    Left out: normalised inputs, cutout, label smoothing, half precision, test-time mirror images.
    """
    return _on_cifar("cifar10", 10)


def cifar100_resnet9() -> Subject:
    """CIFAR-100 with the network and the recipe of `cifar10_resnet9`."""
    return _on_cifar("cifar100", 100)


def _on_cifar(name: str, classes: int) -> Subject:
    pool, test = sources.load(name)
    recipe = Recipe(
        epochs=24,
        batch_size=512,
        learning_rate=0.5,
        weight_decay=5e-4,
        augmentation=Augmentation(shift=2, flip=True),
    )
    return Subject(f"{name}-resnet9", pool, test, partial(resnet9, 3, 32, classes), recipe)


def miniature(subject: Subject) -> Subject:
    """The subject cut down until a CPU can run its path: at most 60 examples, one epoch.

    They lie evenly over all examples in order of their labels, so that however the data are sorted
    as many classes stay as can; their number suits the share, which some models must be IN for.

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
    return replace(
        subject,
        name=f"{subject.name}-miniature",
        pool=_evenly(subject.pool, size),
        test=_evenly(subject.test, min(_MINIATURE, len(subject.test))),
        recipe=replace(subject.recipe, epochs=1),
    )


def _evenly(data: Dataset, size: int) -> Dataset:
    """`size` examples evenly over the data in order of label, the first and the last with them."""
    by_label = np.argsort(data.labels, kind="stable")
    return data.subset(np.sort(by_label[np.linspace(0, len(data) - 1, size, dtype=int)]))


BUILT_IN: dict[str, str] = {
    "digits-mlp": "benchsuite.subject:digits_mlp",
    "digits-cnn": "benchsuite.subject:digits_cnn",
    "digits-tiny": "benchsuite.subject:digits_tiny",
    "mnist-cnn32": "benchsuite.subject:mnist_cnn32",
    "cifar10-resnet9": "benchsuite.subject:cifar10_resnet9",
    "cifar100-resnet9": "benchsuite.subject:cifar100_resnet9",
}


def load_subject(name: str) -> Subject:
    """The subject of a built-in name or of "module:attribute".

    The attribute is a `Subject` or a function without arguments that returns one.

    Raises:
        ValueError: an unknown name, a module or attribute that is not there, or something else
            than a Subject.
    """
    path = BUILT_IN.get(name, name)
    module_name, _, attribute = path.partition(":")
    if not (module_name and attribute):
        raise ValueError(
            f"subject {name!r} is unknown: use one of {', '.join(BUILT_IN)}, or module:attribute"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"subject {name!r}: cannot import {error.name!r}; run pytest where `import "
            f"{module_name}` works, for example from the folder that holds it"
        ) from error
    if not hasattr(module, attribute):
        raise ValueError(f"subject {name!r}: module {module_name!r} has no {attribute!r}")
    found: Subject | Callable[[], Subject] = getattr(module, attribute)
    if inspect.isroutine(found) and inspect.signature(found).parameters:
        raise ValueError(f"subject {name!r} takes arguments; expected a function without arguments")
    subject = found() if callable(found) else found
    if not isinstance(subject, Subject):
        raise ValueError(
            f"subject {name!r} is a {type(subject).__name__}; expected a benchsuite.Subject or a "
            "function that returns one"
        )
    return subject
