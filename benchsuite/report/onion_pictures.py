"""Pictures of the onion: examples, clusters of duplicates, targets and what masked them."""

from collections.abc import Callable

from benchsuite.report.drawing import Arrays, Drawing

KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {}
"""Drawing functions by kind of artifact."""
