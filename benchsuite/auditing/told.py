"""Progress of an audit's training at the prompt."""

import sys

from benchsuite.shadows import Progress


def told_at_the_prompt(name: str) -> Progress | None:
    """Shows training on one line of standard error, where somebody may be looking; else None."""
    if not (sys.stderr.isatty() or hasattr(sys, "ps1")):  # which a notebook has
        return None

    def tell(done: int, total: int, trained: int, seconds: float) -> None:
        left = (total - done) * seconds / trained if trained else 0.0
        line = f"{name}: {done:,} of {total:,} shadow models, {left:.0f} s left"
        print(f"\r{line:<79}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return tell
