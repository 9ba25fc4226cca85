"""Evidence of a claim as the lines of `results.jsonl`."""

import math
from typing import Any

from benchsuite.claim import OBSERVED, Claim, Tier
from benchsuite.evidence import Arm, Evidence, Look
from benchsuite.report.schema import SCHEMA, Artifact, Part, Result


def results_of(
    claim: Claim,
    evidence: Evidence,
    *,
    subject: str,
    tier: Tier,
    artifacts: tuple[Artifact, ...],
    cost: dict[str, Any],
    rerun: str,
    provenance: dict[str, Any],
) -> list[Result]:
    """One line per arm, the observed one first.

    Args:
        claim: that was decided.
        evidence: what came out.
        subject: name of the subject.
        tier: that it ran at.
        artifacts: arrays of its figures.
        cost: `train_seconds`, `models_trained` and `models_reused` of the bank behind it.
        rerun: command that runs it again.
        provenance: where it came from; its "seed" becomes part of each unit's.
    """
    look = evidence.look or Look(0, 0, 0)

    def line(arm: Arm) -> Result:
        observed = arm.name == OBSERVED
        plumbing = evidence.verdict == "plumbing"
        decision = arm.decision
        verdict = evidence.verdict if observed else arm.verdict
        return Result(
            schema=SCHEMA,
            claim=claim.id,
            version=claim.version,
            family=claim.family.id,
            says=claim.says if observed else arm.breaks,
            measures=claim.measures,
            source=claim.source,
            paper=claim.paper,
            subject=subject,
            tier=tier,
            arm=arm.name,
            verdict="plumbing" if plumbing else verdict,
            expected=evidence.expected if observed else str(arm.required),
            reason=evidence.reason if observed else "",
            as_expected=evidence.as_expected if observed else plumbing or arm.came_out,
            unresolved=arm.unresolved,
            rule=str(arm.rule),
            estimate=None if decision is None else decision.estimate,
            interval=(-math.inf, math.inf) if decision is None else decision.interval,
            alpha=evidence.alpha,
            parts=tuple(
                Part(
                    part.name,
                    part.rule,
                    part.estimate,
                    part.interval,
                    "plumbing" if plumbing and part.rule else part.verdict or "",
                    part.units_needed,
                )
                for part in (decision.parts if decision else ())
            ),
            units=tuple(
                {"seed": f"{provenance['seed']}/{number}", "value": unit}
                for number, unit in enumerate(decision.units if decision else ())
            ),
            declared_units=claim.declared_units(subject, tier),
            artifacts=artifacts if observed else (),
            seconds=arm.seconds,
            rerun=rerun,
            provenance=provenance,
            look=look.number,
            looks=look.of,
            models_saved=look.models_saved,
            **cost,
        )

    return [line(arm) for arm in (evidence.observed, *evidence.controls)]
