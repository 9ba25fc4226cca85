"""Subjects: what is trained. The built-in ones, and how a user's own is loaded."""

import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchsuite.data import sources
from benchsuite.data.dataset import Dataset
from benchsuite.models.cnn import cnn32, digits_cnn
from benchsuite.models.mlp import mlp
from benchsuite.training import ModelFactory, Recipe, template


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
        ValueError: pool and test differ in shape or classes; early stopping without validation
            examples; a lambda or closure without a version; no factory of modules; augmentation
            of other inputs than images; outputs that are no logits.
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
        """What identifies the model: import path, arguments, source digest, parameter shapes."""
        shapes = {name: list(p.shape) for name, p in template(self.model).state_dict().items()}
        if self.model_version is not None:
            return {"version": self.model_version, "parameters": shapes}
        return {"made_by": _identity_of(self.model), "parameters": shapes}

    def identity(self) -> dict[str, Any]:
        """All that a trained model depends on beside its design, seed and id; JSON-able."""
        return {
            "pool": self.pool.digest,
            "validation": None if self.validation is None else self.validation.digest,
            "model": self.model_identity(),
            "recipe": json.loads(json.dumps(asdict(self.recipe))),
        }


def _identity_of(value: object) -> Any:
    """What tells a model factory or an argument of it from any other, in every process; JSON-able.

    Never a repr: it may hold an address, or leave out what matters.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_identity_of(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _identity_of(each) for key, each in value.items()}}
    if isinstance(value, partial):
        return {
            "partial": _identity_of(value.func),
            "arguments": _identity_of(value.args),
            "keywords": _identity_of(value.keywords),
        }
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    found: object = sys.modules.get(str(module))
    for part in str(name).split("."):
        found = getattr(found, part, None)
    if name is None or found != value:
        raise ValueError(
            f"model: {name or type(value).__name__} is a lambda, a closure or some other object "
            "that no source identifies: define a function or class at the top level of a module, "
            "or give the Subject a model_version"
        )
    try:
        source = inspect.getsourcefile(inspect.unwrap(value))  # type: ignore[arg-type]
        content = Path(source or "").read_bytes()
    except (TypeError, OSError) as error:
        raise ValueError(
            f"model: the source of {module}:{name} cannot be read: define it in a file, or give "
            "the Subject a model_version"
        ) from error
    return {"path": f"{module}:{name}", "source": hashlib.sha256(content).hexdigest()}


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


def digits_cnn_subject() -> Subject:
    """scikit-learn's handwritten digits and a small convolutional network."""
    pool, test = sources.digits()
    return Subject("digits-cnn", pool, test, digits_cnn, Recipe(epochs=20, learning_rate=0.1))


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


def miniature(subject: Subject) -> Subject:
    """The subject cut down until a CPU can run its path: 60 examples, one epoch."""
    return replace(
        subject,
        name=f"{subject.name}-miniature",
        pool=subject.pool.subset(range(60)),
        test=subject.test.subset(range(60)),
        recipe=replace(subject.recipe, epochs=1),
    )


BUILT_IN: dict[str, str] = {
    "digits-mlp": "benchsuite.subject:digits_mlp",
    "digits-cnn": "benchsuite.subject:digits_cnn_subject",
    "digits-tiny": "benchsuite.subject:digits_tiny",
    "mnist-cnn32": "benchsuite.subject:mnist_cnn32",
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
