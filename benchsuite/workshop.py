"""Where a setting's banks are trained: each once, with its cost noted for whoever uses it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchsuite.data.dataset import Dataset
from benchsuite.shadows import Fill, ShadowBank, train_shadows
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced, Design
from benchsuite.subject import Subject
from benchsuite.training import Precision, Strategy


class Watcher(Protocol):
    """Is told how far one bank is."""

    def __call__(self, done: int, total: int, trained: int, seconds: float) -> None:
        """See `benchsuite.shadows.Progress`."""

    def say(self, text: str) -> None:
        """Something to know of the training, in a line."""

    def finish(self, fill: Fill) -> None:
        """Training has ended."""


class Workshop:
    """Trains banks below one folder, on one device.

    Args:
        folder: where banks lie.
        device: to train on.
        watch: makes the watcher of one bank, from its subject's name.
        executor: to train on, or None for this process.
        strategy: see `train_shadows`.
        precision: likewise.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str,
        watch: Callable[[str], Watcher],
        executor: Executor | None = None,
        strategy: Strategy | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.folder = folder
        self.device = device
        self.watch = watch
        self.executor = executor
        self.strategy = strategy
        self.precision = precision
        self._banks: dict[str, ShadowBank] = {}
        self._noted: list[ShadowBank] | None = None

    def bank(
        self,
        subject: Subject,
        models: int,
        *,
        columns: Sequence[str] = COLUMNS,
        probes: Mapping[str, Dataset] | None = None,
        design: Design | None = None,
        precision: Precision | None = None,
    ) -> ShadowBank:
        """The subject's bank of so many models, trained as far as it lacks them; once a session.

        A precision given here that is not the workshop's own has a folder of its own below it, for
        a bank's key does not tell precisions apart.

        Raises:
            ValueError, BankError, ExecutorError: as `train_shadows`.
        """
        chosen = Balanced(len(subject.pool), subject.share) if design is None else design
        said_of = {"test": subject.test, **(probes or {})}  # which the identity leaves out
        digests = {name: data.digest for name, data in said_of.items()}
        of = subject.name, subject.identity(), chosen.identity(), digests
        folder, own = self.folder, self.precision or "float32"
        if precision not in (None, own):
            folder = Path(folder) / precision
        key = json.dumps((*of, models, sorted(columns), precision), sort_keys=True)
        if key not in self._banks:
            watcher = self.watch(subject.name)
            bank = train_shadows(
                subject,
                models,
                folder=folder,
                columns=columns,
                probes=probes,
                design=chosen,
                device=self.device,
                progress=watcher,
                say=watcher.say,
                executor=self.executor,
                strategy=self.strategy,
                precision=precision or self.precision,
            )
            assert bank.fill is not None
            watcher.finish(bank.fill)
            self._banks[key] = bank
        if self._noted is not None:
            self._noted.append(self._banks[key])
        return self._banks[key]

    @contextmanager
    def noting(self) -> Iterator[list[ShadowBank]]:
        """Add each bank that is asked for within to the list that it yields."""
        self._noted = []
        try:
            yield self._noted
        finally:
            self._noted = None
