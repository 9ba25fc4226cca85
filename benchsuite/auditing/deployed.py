"""One deployed model: a module, any other callable, or a file of its outputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from benchsuite.attacks.observations import Observations
from benchsuite.auditing.columns import Names, names_of
from benchsuite.auditing.outputs import STEMS, Source, observations_of
from benchsuite.auditing.saved import read_outputs
from benchsuite.stats.validation import Bools

_BATCH = 1024
_TARGET = Source("target", "returned")

Target = nn.Module | Callable[[Any], Any] | str | Path


@dataclass(frozen=True)
class Deployed:
    """What one model said of examples.

    Attributes:
        observations: of 1 model; its membership is None.
        trained_on: bool [examples], which it was trained on, where its file says so; else None.
        raised: how many probabilities were moved to 1e-12, as in `Matrix`.
    """

    observations: Observations
    trained_on: Bools | None
    raised: int


def ask(
    target: Target,
    inputs: Any,
    labels: ArrayLike,
    *,
    outputs: str | None = None,
    ids: ArrayLike | None = None,
) -> Deployed:
    """Ask one model about examples, or read what it said.

    Args:
        target: an `nn.Module`, asked in evaluation mode, without gradients, on its own device, in
            float32; any other callable from inputs to outputs [examples, classes], NumPy or torch,
            such as a scikit-learn model's `predict_proba`; or a file as `read_matrix` reads, of
            one model: an .npz without the axis of models, or a table of one row per example, where
            only the outputs must be there. Its labels must equal those given.
        inputs: [examples, ...]; a callable gets them as they are. None will do for a file.
        labels: class indices, [examples].
        outputs: what a module or callable returns, "logits" or "probabilities"; None means logits
            of a module, probabilities of another callable. A file names what it holds.
        ids: of the examples, [examples], distinct integers or text. Where a file has ids too, its
            rows are matched by them, as text if one side has text, and further rows are left
            alone; otherwise its rows are in the order of the examples.

    Raises:
        ValueError: a target that is none of these; outputs of another shape, kind or count; a file
            as `read_matrix` refuses it, whose labels differ or that lacks an id.
    """
    y = np.asarray(labels)
    if y.ndim != 1 or y.size == 0:
        raise ValueError(
            f"labels has shape {list(y.shape)}, expected one axis [examples] with at least one "
            "label: pass the class index of each example"
        )
    if y.dtype.kind not in "iu":
        raise ValueError(f"labels has dtype {y.dtype}, expected integers: pass class indices")
    names = None if ids is None else _distinct(ids, len(y))
    if isinstance(target, str | Path):
        return Deployed(*read_outputs(target, y, outputs, names))
    if isinstance(target, type) or not callable(target):
        raise ValueError(_no_target(target))
    default = "logits" if isinstance(target, nn.Module) else "probabilities"
    kind = default if outputs is None else outputs
    if kind not in STEMS:
        raise ValueError(
            f"outputs={outputs!r} is unknown for a callable, expected 'logits' or 'probabilities': "
            "write other kinds to a file and pass its path"
        )
    if inputs is None:
        raise ValueError(
            "inputs is None and target is a callable, so there is nothing to ask it about: pass a "
            "Subject, or a file of its outputs"
        )
    examples = inputs.shape[0] if hasattr(inputs, "shape") else len(inputs)  # sparse has no len
    if examples != len(y):
        raise ValueError(
            f"inputs has {examples} examples and labels has {len(y)}, expected one label for "
            "each: pass both in one order"
        )
    if isinstance(target, nn.Module):
        said = _ask_module(target, inputs, kind)
    else:
        said = _returned(_called(target, inputs), len(y), kind)
    called = None if names is None else names.distinct[names.index]
    observations, raised = observations_of(_TARGET, kind, said[None], labels=y, ids=called)
    return Deployed(observations, None, raised)


def _called(target: Callable[[Any], Any], inputs: Any) -> Any:
    try:
        return target(inputs)
    except Exception as error:  # whatever it is, it is the target's own
        raise ValueError(
            f"target fails on inputs of shape {list(np.shape(inputs))}, "
            f"{type(error).__name__}: {error}: pass a callable that takes the examples as they are"
        ) from error


def _no_target(target: object) -> str:
    what = type(target).__name__
    if isinstance(target, type):
        return (
            f"target is the class {target.__name__}, expected a trained model: pass the model, not "
            "what makes one"
        )
    if hasattr(target, "predict_proba"):
        return (
            f"target is a {what}, which cannot be called, expected a callable that returns "
            "probabilities: pass its predict_proba, as in target=model.predict_proba"
        )
    return (
        f"target is a {what}, expected an nn.Module, another callable from inputs to outputs, or "
        "the path of a file of outputs: pass one of these"
    )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Each part in evaluation mode, and then as it was: some may be frozen."""
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in before:
            part.training = training


def _ask_module(module: nn.Module, inputs: Any, kind: str) -> NDArray[Any]:
    device = next((each.device for each in (*module.parameters(), *module.buffers())), "cpu")
    given = inputs if isinstance(inputs, Tensor) else np.asarray(inputs)
    said = []
    with _evaluating(module):
        for start in range(0, len(given), _BATCH):
            batch = torch.as_tensor(given[start : start + _BATCH])
            batch = batch.to(device=device, dtype=torch.float32)
            said.append(_returned(_called(module, batch), len(batch), kind))
    if len({each.shape[1] for each in said}) > 1:
        raise ValueError(
            "target returned other numbers of classes for other batches of inputs, expected as "
            "many for all: check its last layer"
        )
    return np.concatenate(said)


def _returned(value: Any, examples: int, kind: str) -> NDArray[Any]:
    """What a callable returned, as an array [examples, classes]."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value if value.dtype == torch.float64 else value.float()).numpy()
    try:
        said = np.asarray(value)
    except ValueError:  # rows of different lengths
        said = np.empty(0, dtype=object)
    shape = f"shape {list(said.shape)}" if said.dtype.kind in "fiub" else type(value).__name__
    if said.dtype.kind not in "fiu" or said.ndim != 2 or len(said) != examples:
        raise ValueError(
            f"target returned {shape}, expected {kind} [{examples}, classes] for {examples} "
            "examples: pass a callable that returns one row for each input, a number for each class"
        )
    return said


def _distinct(ids: ArrayLike, examples: int) -> Names:
    array = np.asarray(ids)
    if array.shape != (examples,):
        raise ValueError(
            f"ids has shape {list(array.shape)} and labels has {examples} values, expected one id "
            "for each example: pass both in one order"
        )
    names = names_of("ids", pd.Series(array))
    if len(names.distinct) < examples:
        twice = names.distinct[np.bincount(names.index).argmax()]
        raise ValueError(
            f"ids holds {twice} more than once, expected distinct ids: give each example its own"
        )
    return names
