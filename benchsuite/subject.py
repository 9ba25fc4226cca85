"""Subjects: what is trained. The built-in ones, and how a user's own is loaded."""

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

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
            function or class of a module, or a `functools.partial` of one, so that its source
            identifies it.
        recipe: how each model is trained.
        share: the part of the pool that each model is trained on.
        validation: examples for early stopping, if the recipe has it.
        model_version: identifies the model where the source cannot: required if `model` is a
            lambda or a closure. Change it whenever the model changes.

    Raises:
        ValueError: pool and test differ in shape or classes; early stopping without validation
            examples; a lambda or closure without a version; logits of the wrong shape.
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
        self.model_identity()
        _check_logits(self)

    def model_identity(self) -> dict[str, Any]:
        """What identifies the model: import path, arguments, source digest, parameter shapes."""
        shapes = {name: list(p.shape) for name, p in template(self.model).state_dict().items()}
        if self.model_version is not None:
            return {"version": self.model_version, "parameters": shapes}
        function, arguments = self.model, []
        while isinstance(function, partial):
            arguments.append([repr(function.args), repr(sorted(function.keywords.items()))])
            function = function.func
        path = f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', '?')}"
        if "<lambda>" in path or "<locals>" in path or not hasattr(function, "__qualname__"):
            raise ValueError(
                f"model={path} is a lambda or closure, whose source does not identify it: define "
                "it at the top level of a module, or give the Subject a model_version"
            )
        source = inspect.getsourcefile(function)
        return {
            "path": path,
            "arguments": arguments,
            "source": hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else None,
            "parameters": shapes,
        }

    def identity(self) -> dict[str, Any]:
        """All that a trained model depends on beside its design, seed and id; JSON-able."""
        return {
            "pool": self.pool.digest,
            "validation": None if self.validation is None else self.validation.digest,
            "model": self.model_identity(),
            "recipe": json.loads(json.dumps(asdict(self.recipe))),
        }


def _check_logits(subject: Subject) -> None:
    model = template(subject.model).eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(subject.pool.inputs()[:2].copy()))
    expected = (2, subject.pool.classes)
    if tuple(logits.shape) != expected:
        raise ValueError(
            f"model gives outputs of shape {tuple(logits.shape)} for two examples; expected logits "
            f"of shape {expected}, one per class of the pool"
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
    """300 digits and a 64-16-10 MLP: for smoke runs, which decide nothing."""
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
    """The subject cut down until a CPU can run its path: 400 examples, one epoch."""
    return replace(
        subject,
        name=f"{subject.name}-miniature",
        pool=subject.pool.subset(range(400)),
        test=subject.test.subset(range(100)),
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
    module_name, colon, attribute = path.partition(":")
    if not colon:
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
    subject = found() if callable(found) else found
    if not isinstance(subject, Subject):
        raise ValueError(
            f"subject {name!r} is a {type(subject).__name__}; expected a benchsuite.Subject or a "
            "function that returns one"
        )
    return subject
