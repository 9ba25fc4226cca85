"""What executors of clusters have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from importlib import import_module
from typing import Any


class ExecutorError(RuntimeError):
    """An executor cannot be reached, lost a task, or has workers that cannot do it."""


class ClusterExecutor(Executor, ABC):
    """An executor that gives each task cores and GPUs of its own."""

    @abstractmethod
    def submit_on(
        self, cores: int, gpus: int, call: Callable[..., Any], /, *args: Any
    ) -> Future[Any]:
        """As `submit`, where so many cores and GPUs are free."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it on one core."""
        return self.submit_on(1, 0, partial(call, **kwargs), *args)


class Task(Future[Any]):
    """Stays pending, so that it can be cancelled, until the cluster has done it."""

    def finish(self, value: Any, error: BaseException | None = None) -> None:
        """Take what the cluster answers, unless it was cancelled."""
        if self.cancelled() or not self.set_running_or_notify_cancel():
            return
        if error is None:
            self.set_result(value)
        else:
            self.set_exception(error)


def imported(package: str, extra: str) -> Any:
    """A package that an extra installs.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"--executor {extra} needs {package}: pip install 'benchsuite[{extra}]'"
        ) from error
