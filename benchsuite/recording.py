"""Saving what a claim came to: its lines in `results.jsonl` and the arrays of its figures."""

from pathlib import Path
from typing import Any

from benchsuite.claim import Claim, Evidence
from benchsuite.provenance import provenance
from benchsuite.report.artifacts import save_artifact
from benchsuite.report.results import results_of
from benchsuite.report.schema import Artifact, Result, record
from benchsuite.setting import Trained


def record_evidence(
    folder: Path,
    claim: Claim,
    experiment: Any,
    evidence: Evidence,
    trained: Trained,
    *,
    rerun: str,
    clone: Path,
) -> list[Result]:
    """Save a claim's evidence below `folder` in place of what was saved of it, and return it.

    Args:
        folder: of reports.
        claim: that was decided.
        experiment: that gives the arrays of its figures.
        evidence: what came out.
        trained: the bank behind it.
        rerun: command that runs it again.
        clone: folder of the git clone, for its state.

    Raises:
        OSError: the folder cannot be written.
    """
    bank, tier = trained.bank, trained.setting.tier
    stem = f"{claim.id}.{trained.subject.name}.{tier}"
    artifacts: tuple[Artifact, ...] = ()
    if evidence.resolved:
        artifacts = tuple(
            save_artifact(folder, kind, stem, **arrays)
            for kind in claim.figures
            if (arrays := experiment.figure(kind)) is not None
        )
    results = results_of(
        claim,
        evidence,
        subject=trained.subject.name,
        tier=tier,
        artifacts=artifacts,
        cost={
            "train_seconds": trained.fill.seconds,
            "models_trained": trained.fill.models_trained,
            "models_reused": trained.fill.models_reused,
        },
        rerun=rerun,
        provenance={
            **provenance(bank.execution.device, clone),
            "seed": bank.design.seed,
            "data": trained.subject.pool.digest,
            "bank": bank.key,
            "accuracy": float(bank.column("test", "correct").mean()),
        },
    )
    record(folder, results)
    return results
