"""Saving what a claim came to: its lines in `results.jsonl` and the arrays of its figures."""

import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchsuite.claim import Claim, Tier
from benchsuite.code_digest import code_digest
from benchsuite.evidence import Evidence
from benchsuite.provenance import provenance
from benchsuite.report.artifacts import save_artifact
from benchsuite.report.results import results_of
from benchsuite.report.schema import PLUMBING, Artifact, Result, record
from benchsuite.shadows import Fill, ShadowBank


class Ground(NamedTuple):
    """What a claim was decided on.

    Attributes:
        name: of the subject, or of what was audited.
        tier: that it ran at.
        data: digest of the data.
        bank: of the models behind it, or None where this project trained none.
    """

    name: str
    tier: Tier
    data: str
    bank: ShadowBank | None


def record_evidence(
    folder: Path,
    claim: Claim,
    experiment: Any,
    evidence: Evidence,
    ground: Ground,
    more: Sequence[ShadowBank],
    *,
    rerun: str,
    clone: Path,
) -> list[Result]:
    """Save a claim's evidence below `folder` in place of what was saved of it, and return it.

    Plumbing is returned, but saved only where nothing was decided yet (see `record`).

    Args:
        folder: of reports.
        claim: that was decided.
        experiment: that gives the arrays of its figures.
        evidence: what came out.
        ground: what it was decided on.
        more: banks that it used beside that one's.
        rerun: command that runs it again.
        clone: folder of the git clone, for its state and for the place of the claim's file in it.

    Raises:
        OSError: the folder cannot be written.
        TypeError: the claim's generator was not written in a file.
    """
    bank, tier = ground.bank, ground.tier
    stem = f"{claim.id}.{ground.name}.{tier}"
    if evidence.verdict == PLUMBING:
        stem += f".{PLUMBING}"  # beside the arrays of what was decided, whose digest is recorded
    file = _file_of(claim)
    artifacts: tuple[Artifact, ...] = ()
    if evidence.resolved:
        artifacts = tuple(
            save_artifact(folder, kind, stem, **arrays)
            for kind in claim.figures
            if (arrays := experiment.figure(kind)) is not None
        )
    banks = more if bank is None else (bank, *more)
    fills = _fills_of(banks)
    results = results_of(
        claim,
        evidence,
        subject=ground.name,
        tier=tier,
        artifacts=artifacts,
        cost={
            "train_seconds": math.fsum(fill.seconds for fill in fills.values()),
            "models_trained": sum(fill.models_trained for fill in fills.values()),
            "models_reused": sum(fill.models_reused for fill in fills.values()),
        },
        rerun=rerun,
        provenance={
            **provenance("cpu" if bank is None else bank.execution.device, clone),
            **({} if bank is None else _of_bank(bank)),
            "code": code_digest(file),
            "file": _within(clone, file),
            "seed": 0 if bank is None else bank.design.seed,
            "data": ground.data,
            "banks": {
                key: [fill.seconds, fill.models_trained, fill.models_reused]
                for key, fill in fills.items()
            },
        },
    )
    record(folder, results)
    return results


def _fills_of(banks: Sequence[ShadowBank]) -> dict[str, Fill]:
    """What was trained of each bank, by its key; of one that grew, in all its parts together.

    Banks of other precisions have float32's key, and its precision is put behind it.
    """
    parts: dict[str, dict[int, ShadowBank]] = {}
    for bank in banks:
        precision = bank.execution.precision
        name = bank.key if precision == "float32" else f"{bank.key}-{precision}"
        parts.setdefault(name, {})[id(bank)] = bank
    fills = {}
    for key, grown in parts.items():
        of_each = [bank.fill for bank in grown.values() if bank.fill is not None]
        if of_each:
            trained = sum(fill.models_trained for fill in of_each)
            models = max(fill.models_trained + fill.models_reused for fill in of_each)
            seconds = math.fsum(fill.seconds for fill in of_each)
            fills[key] = Fill(trained, max(0, models - trained), seconds)
    return fills


def _of_bank(bank: ShadowBank) -> dict[str, Any]:
    return {"bank": bank.key, "accuracy": float(bank.column("test", "correct").mean())}


def _file_of(claim: Claim) -> Path:
    file = inspect.getsourcefile(claim.numbers)
    if file is None:
        raise TypeError(f"claim {claim.id!r} was not written in a file; put it in one for pytest")
    return Path(file).resolve()


def _within(clone: Path, file: Path) -> str:
    """The file's place in the clone, or where it lies if that is outside."""
    inside = file.is_relative_to(clone.resolve())
    return (file.relative_to(clone.resolve()) if inside else file).as_posix()
