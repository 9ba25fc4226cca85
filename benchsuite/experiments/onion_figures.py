"""Arrays behind: figures of the onion: ROC curves before and after a removal, and how stable scores are."""

from collections.abc import Callable
from typing import Any

ARRAYS: dict[str, Callable[[Any], dict[str, Any] | None]] = {}
"""The figure's arrays by its kind, of the experiment; None where this subject has none."""
