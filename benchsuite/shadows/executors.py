"""Executors by name, as `--executor` has them."""

from concurrent.futures import Executor

from benchsuite.shadows.ray_cluster import RayExecutor
from benchsuite.shadows.slurm import SlurmExecutor

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
