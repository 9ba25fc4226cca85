"""Designs: which examples each shadow model trains on; rows never change as a bank grows."""

from collections.abc import Callable, Mapping
from typing import Any

from benchsuite.shadows.balanced import Balanced
from benchsuite.shadows.joining import Joining
from benchsuite.shadows.parts import Lacking, Tied
from benchsuite.shadows.replacing import Replacing

__all__ = ["Balanced", "Design", "Joining", "Lacking", "Replacing", "Tied", "design_of"]

Design = Balanced | Tied | Lacking | Replacing | Joining
"""Who is IN, as a rule."""

_DESIGNS: dict[str, Callable[..., Design]] = {
    "balanced": Balanced,
    "tied": Tied,
    "lacking": Lacking,
    "replacing": Replacing,
    "joining": Joining,
}


def design_of(identity: Mapping[str, Any]) -> Design:
    """Rebuild the design that has this identity, be it from `identity()` or from JSON.

    Raises:
        ValueError: it is of no design that is known here.
    """
    name = identity["design"]
    if name not in _DESIGNS:
        raise ValueError(
            f"identity is of the design {name!r}, expected one of {', '.join(_DESIGNS)}: it is of"
            " another version of benchsuite"
        )
    given = {key: each for key, each in identity.items() if key not in ("design", "version")}
    return _DESIGNS[name](**given)
