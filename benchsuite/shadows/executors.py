"""Executors of clusters: Ray's and Slurm's, each as a `concurrent.futures.Executor`.

A task that is cancelled before it is done ends there too; what it had done is lost.
"""

import contextlib
import logging
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from importlib import import_module
from pathlib import Path
from typing import Any

from benchsuite.shadows.tasks import WORKERS, ClusterExecutor, ExecutorError

RETRIES = 3
"""Times that Ray starts a task again whose node died."""
HOURS = 4
"""That a job of Slurm's may take, unless SBATCH_TIMELIMIT says otherwise."""

_KINDS = {"local": "", "ray": "[:ADDRESS]", "slurm": "[:PARTITION]"}


def parsed(spec: str) -> tuple[str, str | None]:
    """The kind of executor that "kind" or "kind:where" names, and where it is.

    Raises:
        ValueError: no such kind, or nothing after the colon.
    """
    kind, colon, where = spec.partition(":")
    if kind not in _KINDS or (colon and not (where and _KINDS[kind])):
        kinds = ", ".join(kind + more for kind, more in _KINDS.items())
        raise ValueError(f"executor {spec!r} is unknown: use one of {kinds}")
    return kind, where or None


def executor_for(spec: str) -> Executor | None:
    """The executor that is named: "local" is None; shut it down when done.

    Args:
        spec: "local", "ray" or "ray:ADDRESS" of a cluster that runs, "slurm" or "slurm:PARTITION".

    Raises:
        ValueError: an unknown name.
        ImportError: its extra is not installed.
        ExecutorError: it cannot be reached.
    """
    kind, where = parsed(spec)
    if kind == "ray":
        return RayExecutor(where)
    return SlurmExecutor(where) if kind == "slurm" else None


def _imported(package: str, extra: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"--executor {extra} needs {package}: pip install 'benchsuite[{extra}]'"
        ) from error


class _Task(Future[Any]):
    """Of a cluster: stays pending, so that it can be cancelled, until it is done."""

    def finish(self, value: Any, error: BaseException | None = None) -> None:
        """Take what the cluster answers, unless it was cancelled."""
        if self.done() or not self.set_running_or_notify_cancel():
            return
        if error is None:
            self.set_result(value)
        else:
            self.set_exception(error)


# ---- Ray -----------------------------------------------------------------------------------------


class RayExecutor(ClusterExecutor):
    """Tasks on a Ray cluster that runs; those of a node that dies are done again on another.

    Args:
        address: of the cluster, "host:port" or "ray://host:port"; None takes the one that
            RAY_ADDRESS names or that runs on this machine.

    Raises:
        ImportError: Ray is not installed.
        ExecutorError: no cluster answers there.
    """

    def __init__(self, address: str | None = None) -> None:
        self._ray = _imported("ray", "ray")
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
                "start one with ray start --head, or give its address as --executor ray:HOST:PORT"
            ) from error
        slots = self._ray.cluster_resources().get("CPU", 0)
        self._max_workers = max(WORKERS, int(slots))
        self._open: set[_Task] = set()
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
        remote = self._ray.remote(call).options(num_cpus=cores, num_gpus=gpus, max_retries=RETRIES)
        ref = remote.remote(*(self._stored(arg) for arg in args))
        task = _Task()
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

    def _ended(self, task: _Task, ref: Any) -> None:
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


def _answer(done: Future[Any]) -> tuple[Any, BaseException | None]:
    error = done.exception()
    return (None, error) if error is not None else (done.result(), None)


def _check_answers(address: str) -> None:
    """Ray itself would wait for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
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


# ---- Slurm ---------------------------------------------------------------------------------------


class SlurmExecutor(ClusterExecutor):
    """Tasks as jobs of Slurm's, through submitit.

    Jobs and their logs lie in a folder that all nodes must see, as the working directory of a
    cluster commonly is; those of tasks that were done are removed. Whatever else sbatch shall be
    told is told it by its environment variables, such as SBATCH_ACCOUNT and SBATCH_TIMELIMIT.

    Args:
        partition: to submit to; None takes the cluster's default.
        folder: of jobs.
        cluster: of submitit's: "local" runs jobs on this machine.

    Raises:
        ImportError: submitit is not installed.
        ExecutorError: there is no Slurm here.
    """

    def __init__(
        self,
        partition: str | None = None,
        *,
        folder: str | Path = ".slurm",
        cluster: str = "slurm",
    ) -> None:
        submitit = _imported("submitit", "slurm")
        for command in ("sbatch", "srun") if cluster == "slurm" else ():
            if shutil.which(command) is None:
                raise ExecutorError(
                    f"Slurm's {command} is not on the PATH: run this where jobs are submitted, "
                    "such as a login node, or use another --executor"
                )
        self._folder = Path(folder).resolve()
        self._partition = partition
        self._submitit = submitit.AutoExecutor(self._folder, cluster=cluster)
        self._open: dict[_Task, Any] = {}
        self._large: tuple[bytes, Path] | None = None
        self._shut = False
        self._changing = threading.Lock()
        self._watch = threading.Thread(target=self._watching, name="slurm", daemon=True)
        self._watch.start()

    def submit_on(
        self, cores: int, gpus: int, call: Callable[..., Any], /, *args: Any
    ) -> Future[Any]:
        """Do it in a job with so many cores and GPUs.

        Raises:
            RuntimeError: the executor was shut down.
            ExecutorError: sbatch refuses the job.
        """
        task = _Task()
        with self._changing:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._submitit.update_parameters(
                name="benchsuite",
                cpus_per_task=cores,
                gpus_per_node=gpus or None,
                timeout_min=60 * HOURS,
                slurm_partition=self._partition,
            )
            stored = [self._stored(arg) for arg in args]
            try:
                self._open[task] = self._submitit.submit(_with_files_read, call, *stored)
            except Exception as error:
                raise ExecutorError(
                    f"sbatch refused a job for partition {self._partition or '(default)'}: "
                    f"{_of_slurm(error)}; give another with --executor slurm:PARTITION (sinfo "
                    "lists them)"
                ) from error
        return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all jobs, or wait for them."""
        with self._changing:
            self._shut = True
            still = list(self._open)
        if cancel_futures:
            for task in still:
                task.cancel()
        if wait:
            self._watch.join()

    def _watching(self) -> None:
        """Until it is shut down and all has ended."""
        while True:
            with self._changing:
                jobs = list(self._open.items())
                if self._shut and not jobs:
                    break
            for task, job in jobs:
                if task.cancelled():
                    self._cancel(job)
                elif job.done():
                    self._finish(task, job)
                else:
                    continue
                with self._changing:
                    del self._open[task]
            time.sleep(0.5)
        if self._large is not None:
            self._large[1].unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # logs of what failed stay
            self._folder.rmdir()

    def _finish(self, task: _Task, job: Any) -> None:
        try:
            value = job.result()
        except Exception as error:
            task.finish(None, ExecutorError(f"job {job.job_id}: {_of_slurm(error)}"))
            return
        task.finish(value)
        self._remove(job)

    def _cancel(self, job: Any) -> None:
        job.cancel(check=False)
        until = time.perf_counter() + 5
        while not job.done() and time.perf_counter() < until:
            time.sleep(0.1)
        self._remove(job)

    def _remove(self, job: Any) -> None:
        for path in self._folder.glob(f"{job.job_id}_*"):
            path.unlink(missing_ok=True)
        for path in self._folder.glob(".submission_file_*.sh"):
            if not path.exists():  # a link to what was removed
                path.unlink()

    def _stored(self, arg: Any) -> Any:
        """Work with its data is written once, not with every job."""
        if not isinstance(arg, bytes):
            return arg
        if self._large is None or self._large[0] is not arg:
            if self._large is not None:
                self._large[1].unlink(missing_ok=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"work-{time.time_ns()}.pkl"
            path.write_bytes(arg)
            self._large = arg, path
        return _File(self._large[1])


class _File:
    """What is read where a job runs."""

    def __init__(self, path: Path) -> None:
        self.path = path


def _with_files_read(call: Callable[..., Any], *args: Any) -> Any:
    return call(*(arg.path.read_bytes() if isinstance(arg, _File) else arg for arg in args))


def _of_slurm(error: Exception) -> str:
    """The line of submitit's message, or of the log in it, that says what happened."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if re.search(r"\w", line)]
    telling = [line for line in lines if re.match(r"(sbatch: error|\w*Error\b)", line)]
    return (telling or lines or [type(error).__name__])[-1]
