"""Progress of long training, shown in plain pytest."""

import time
from typing import Any

import pytest

from benchsuite.shadows import Fill


class TrainingProgress:
    """Prints models done, models per second and time left: at once, then every few seconds.

    A bank that is done within those few seconds is only named once it is.

    Args:
        config: of the pytest session, whose terminal it prints to.
        name: of the subject, before each line.
        every: seconds between lines.
    """

    def __init__(self, config: pytest.Config, name: str, every: float = 5.0) -> None:
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._name = name
        self._every = every
        self._last = -every

    def __call__(self, done: int, total: int, trained: int, seconds: float) -> None:
        """Take note of how far training is; see `benchsuite.shadows.Progress`."""
        now = time.perf_counter()
        if now - self._last < self._every or not trained:
            return
        rate = trained / seconds
        left = (total - done) / rate
        if left < self._every:
            return
        self._last = now
        self.say(f"{done:,} of {total:,} shadow models, {rate:.1f} models/s, {left:.0f} s left")

    def finish(self, fill: Fill) -> None:
        """Print what was trained and what was there."""
        self.say(
            f"{fill.models_trained:,} shadow models trained in {fill.seconds:.0f} s, "
            f"{fill.models_reused:,} found in the bank"
        )

    def say(self, text: str) -> None:
        """Print a line after the subject's name."""
        if self._terminal is None:
            return
        with self._capture.global_and_fixture_disabled():  # pytest captures what fixtures print
            self._terminal.ensure_newline()
            self._terminal.write_line(f"  {self._name}: {text}")
            self._terminal.flush()
