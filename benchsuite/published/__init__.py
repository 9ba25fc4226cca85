"""Numbers that papers print, as tidy tables beside which this suite's own stand.

Each table is a CSV of this package as its paper prints it; a module per paper reads it with types.
Nothing else of `benchsuite` is imported here, so that experiments and the report may both use it.
"""

from benchsuite.published.membership import AttackRow, MixtureRow, attack_rows, mixture_rows

__all__ = ["AttackRow", "MixtureRow", "attack_rows", "mixture_rows"]
