"""Ray's clusters as executors."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from benchsuite.shadows.clusters import ClusterExecutor, ExecutorError, Task, imported
from benchsuite.shadows.tasks import WORKERS

RETRIES = 3
"""Times that Ray starts a task again whose node died."""


class RayExecutor(ClusterExecutor):
    """Tasks on a Ray cluster that runs; those of a node that dies are done again on another.

    This machine must be one of the cluster's.

    Args:
        address: of the cluster, "host:port"; None takes the one that RAY_ADDRESS names or that runs
            on this machine.

    Raises:
        ImportError: Ray is not installed.
        ExecutorError: no cluster answers there.
    """

    def __init__(self, address: str | None = None) -> None:
        self._ray = imported("ray", "ray")
        if address is not None:
            _check_answers(address)
        self._connected_here = not self._ray.is_initialized()
        try:
            self._ray.init(
                address=address or "auto",
                ignore_reinit_error=True,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ExecutorError(
                f"no Ray cluster at {address or 'RAY_ADDRESS or on this machine'} ({reason}): "
                "start one with ray start --head, or join one with ray start --address=HOST:PORT"
            ) from error
        slots = self._ray.cluster_resources().get("CPU", 0)
        self._max_workers = max(WORKERS, int(slots))
        self._remote = self._ray.remote(_called)
        self._open: set[Task] = set()
        self._large: tuple[bytes, Any] | None = None
        self._shut = False
        self._changing = threading.Lock()

    def submit_on(
        self, cores: int, gpus: int, call: Callable[..., Any], /, *args: Any
    ) -> Future[Any]:
        """Do it where so many cores and GPUs are free, or, of cores, the most that a node has.

        Raises:
            RuntimeError: the executor was shut down.
            ExecutorError: no node has so many GPUs.
        """
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if gpus > max((node.get("GPU", 0) for node in nodes), default=0):
            raise ExecutorError(
                "no node of the Ray cluster has a GPU, which this bank's device is: add one with "
                "ray start --address=HOST:PORT, or use --device cpu"
            )
        cores = min(cores, int(max((node.get("CPU", 0) for node in nodes), default=cores)))
        sized = self._remote.options(num_cpus=cores, num_gpus=gpus, max_retries=RETRIES)
        ref = sized.remote(call, *(self._stored(arg) for arg in args))
        task = Task()
        with self._changing:
            self._open.add(task)
        ref.future().add_done_callback(
            lambda done: task.finish(*_answer(done))  # in a thread of Ray's
        )
        task.add_done_callback(lambda _: self._ended(task, ref))
        return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which goes on."""
        self._shut = True
        with self._changing:
            still = list(self._open)
        for task in still:
            if cancel_futures:
                task.cancel()
            elif wait:
                with contextlib.suppress(Exception):
                    task.result()
        if self._connected_here and self._ray.is_initialized():
            self._ray.shutdown()

    def _ended(self, task: Task, ref: Any) -> None:
        with self._changing:
            self._open.discard(task)
        if task.cancelled() and self._ray.is_initialized():
            self._ray.cancel(ref, force=True)

    def _stored(self, arg: Any) -> Any:
        """Work with its data is put into the cluster's store once, not with every task."""
        if not isinstance(arg, bytes):
            return arg
        with self._changing:
            if self._large is None or self._large[0] is not arg:
                self._large = arg, self._ray.put(arg)
            return self._large[1]


def _called(call: Callable[..., Any], *args: Any) -> Any:
    """What Ray runs: it takes no partial functions."""
    return call(*args)


def _answer(done: Future[Any]) -> tuple[Any, BaseException | None]:
    error = done.exception()
    return (None, error) if error is not None else (done.result(), None)


def _check_answers(address: str) -> None:
    """Ray itself would wait for a minute."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return
    except ValueError:
        reason = "it is no HOST:PORT"
    except OSError as error:
        reason = str(error)
    raise ExecutorError(
        f"no Ray cluster at {address} ({reason}): give the address that ray start --head prints"
    )
