"""Figures of the onion: ROC curves before and after a removal, and how stable scores are."""

from collections.abc import Callable

from benchsuite.report.drawing import Arrays, Drawing

KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {}
"""Drawing functions by kind of artifact."""
