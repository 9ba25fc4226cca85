from types import SimpleNamespace

import pytest

from benchsuite.progress import TrainingProgress
from benchsuite.shadows import Fill


class Terminal:
    def __init__(self):
        self.lines = []

    def ensure_newline(self):
        pass

    def write_line(self, line):
        self.lines.append(line)

    def flush(self):
        pass


class Capture:
    def global_and_fixture_disabled(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr("time.perf_counter", lambda: now.seconds)
    return now


@pytest.fixture
def progress(terminal, clock):
    plugins = {"terminalreporter": terminal, "capturemanager": Capture()}
    manager = SimpleNamespace(get_plugin=plugins.get)
    return TrainingProgress(SimpleNamespace(pluginmanager=manager), "digits", every=5.0)


def test_it_says_models_done_their_rate_and_the_time_left(progress, terminal):
    progress(64, 2048, 32, 2.0)
    assert terminal.lines == ["  digits: 64 of 2,048 shadow models, 16.0 models/s, 124 s left"]


def test_it_speaks_every_few_seconds(progress, terminal, clock):
    for seconds in range(12):
        clock.seconds = 100.0 + seconds
        progress(64 + seconds, 2048, 64, 8.0)
    assert [line.split()[1] for line in terminal.lines] == ["64", "69", "74"]


def test_a_bank_that_is_soon_done_is_named_only_then(progress, terminal):
    progress(32, 128, 32, 1.0)
    assert terminal.lines == []
    progress.finish(Fill(models_trained=128, models_reused=0, seconds=4.0))
    assert terminal.lines == ["  digits: 128 shadow models trained in 4 s, 0 found in the bank"]


def test_models_that_were_there_have_no_rate(progress, terminal):
    progress(64, 2048, 0, 0.0)
    assert terminal.lines == []
