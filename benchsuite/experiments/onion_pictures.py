"""Arrays behind: pictures of the onion: examples, clusters of duplicates, targets and what masked them."""

from collections.abc import Callable
from typing import Any

ARRAYS: dict[str, Callable[[Any], dict[str, Any] | None]] = {}
"""The figure's arrays by its kind, of the experiment; None where this subject has none."""
