"""The work of filling a bank, as a value that any thread or process can do a part of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchsuite.data.dataset import Dataset
from benchsuite.shadows.columns import Column, answers, blank
from benchsuite.shadows.design import Design
from benchsuite.shadows.execution import Execution, exact_on_cuda
from benchsuite.shadows.jobs import training_job
from benchsuite.shadows.shards import BankError
from benchsuite.subject import Subject
from benchsuite.training import Weights, train

Values = dict[Column, NDArray[Any]]


class Trained(NamedTuple):
    """Some models: their weights, [models, ...] by name, and what they say."""

    weights: dict[str, NDArray[Any]]
    values: Values

    @property
    def bytes_per_model(self) -> int:
        """Of the weights."""
        return sum(array[0].nbytes for array in self.weights.values())


def joined(parts: Sequence[Trained]) -> Trained:
    """Consecutive models as one."""
    if len(parts) == 1:  # not copied: a large column is held but once
        return parts[0]
    weights, values = zip(*parts, strict=True)
    return Trained(_joined(weights), _joined(values))


def _joined(parts: Sequence[Mapping[Any, NDArray[Any]]]) -> dict[Any, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class Work:
    """How to train any models of a bank and what to ask them; it can be pickled.

    Attributes:
        subject: whose models they are.
        design: of their subsets.
        execution: how they are computed.
        probes: what they are asked about, by name.
        columns: what they are asked.
    """

    subject: Subject
    design: Design
    execution: Execution
    probes: Mapping[str, Dataset]
    columns: tuple[Column, ...]
    _inputs: dict[str, torch.Tensor] = field(default_factory=dict, compare=False)

    def train(self, first: int, last: int, before_epoch: Callable[[], None]) -> Trained:
        """Train the models first to last - 1 in one stack, or one by one, and ask them.

        Raises:
            ValueError: a model whose outputs are not finite.
        """
        pool = self.subject.pool
        moments = [column for column in self.columns if column.epoch is not None]
        values = {
            column: blank(column, last - first, self.probes[column.probe], pool.classes)
            for column in moments
        }

        def observe(epoch: int, models: tuple[int, ...], weights: Weights) -> None:
            rows = [model - first for model in models]
            now = tuple(column for column in moments if column.epoch == epoch)
            for column, said in self._answers(now, models, weights).items():
                values[column][rows] = said

        job = training_job(
            self.design,
            self.subject,
            range(first, last),
            self._inputs_of("pool", pool),
            before_epoch,
            observe if moments else None,
        )
        with (
            self._memory_suffices(),
            exact_on_cuda(self.execution.device, self.execution.precision),
        ):
            weights = train(job, self.execution.engine)
        return Trained(
            {name: tensor.cpu().numpy() for name, tensor in weights.items()},
            values | self.ask(self.columns, first, weights),
        )

    def ask(self, columns: tuple[Column, ...], first: int, weights: Weights) -> Values:
        """What trained models say, from `first` on, in those of the columns that have no epoch."""
        models = range(first, first + len(next(iter(weights.values()))))
        return self._answers(tuple(c for c in columns if c.epoch is None), models, weights)

    def hold_inputs(self) -> None:
        """Put all inputs on the device, before threads that would each do it."""
        for name, probe in {"pool": self.subject.pool, **self.probes}.items():
            self._inputs_of(name, probe)

    def to_device(self, weights: Mapping[str, NDArray[Any]]) -> Weights:
        """Kept weights as tensors where the models are computed."""
        return {name: torch.from_numpy(array).to(self._device) for name, array in weights.items()}

    def _answers(
        self, columns: tuple[Column, ...], models: range | tuple[int, ...], weights: Weights
    ) -> Values:
        probes = {
            name: (self.probes[name], self._inputs_of(name, self.probes[name]))
            for name in {column.probe for column in columns}
        }
        # Of moments too, while others train.
        with self._memory_suffices(), exact_on_cuda(self.execution.device):
            return answers(columns, self.subject, models, weights, probes, self.execution.engine)

    @contextmanager
    def _memory_suffices(self) -> Iterator[None]:
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise BankError(
                f"the memory of {self.execution.device} is too small now for this bank's stacks of "
                f"{self.execution.stack}: free some and run the same command again, which goes on "
                "where it was, or train one after another, with --strategy looped and another "
                "folder in --banks"
            ) from error

    def _inputs_of(self, name: str, probe: Dataset) -> torch.Tensor:
        if name not in self._inputs:
            self._inputs[name] = torch.tensor(probe.inputs(), device=self._device)
        return self._inputs[name]

    @property
    def _device(self) -> torch.device:
        return torch.device(self.execution.device)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle all but the inputs on the device, which are made again."""
        return {**self.__dict__, "_inputs": {}}
