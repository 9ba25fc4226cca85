"""What `make bench` measured: training speeds beside the plain loop, and how cost grows."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BENCHMARKS = "benchmark.json"
GROWS = ("models", "examples")
PARTS = ("training", "estimates")


@dataclass(frozen=True)
class Way:
    """One way to train a subject's models.

    Attributes:
        name: as printed.
        speed: in models per second, the median of the rounds.
        ratio: to the plain loop; None where no loop was timed.
        accuracy: on test examples, or None.
        loop: whether it is the plain loop, in one process.
    """

    name: str
    speed: float
    ratio: float | None
    accuracy: float | None
    loop: bool = False


@dataclass(frozen=True)
class Speeds:
    """The ways to train one subject on one device, fastest first.

    `gflops` is the arithmetic that `train_shadows` achieved, in GFLOP/s, and `share` its part of
    the measured peak; None where nobody counted.
    """

    subject: str
    device: str
    ways: tuple[Way, ...]
    gflops: float | None
    share: float | None


@dataclass(frozen=True)
class Growth:
    """Seconds of training and of estimates against a count, ascending.

    `of` is "models" or "examples"; `says` what stayed the same, in words.
    """

    of: str
    says: str
    counts: NDArray[np.int64]
    seconds: Mapping[str, NDArray[np.float64]]

    def slope(self, part: str) -> float:
        """Slope in logarithms, by least squares: 1 where twice the count costs twice the time."""
        x, y = np.log(self.counts), np.log(self.seconds[part])
        return float(np.polyfit(x, y, 1)[0])


@dataclass(frozen=True)
class Cost:
    """What the page says of cost; `missing` says in words why there is nothing."""

    facts: Mapping[str, str]
    speeds: tuple[Speeds, ...] = ()
    growth: tuple[Growth, ...] = ()
    missing: str = ""


def read_cost(folder: Path) -> Cost | None:
    """What `benchmark.json` in `folder` says; None where there is no such file.

    A file that cannot be understood gives a `Cost` that says why.
    """
    path = folder / BENCHMARKS
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Cost({}, missing=f"{BENCHMARKS} cannot be read ({error.strerror})")
    try:
        return _cost(json.loads(text))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are such
        said = str(error)
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            said = f"it is not JSON ({error})"
        return Cost({}, missing=f"{BENCHMARKS} cannot be understood: {said}")


def _cost(saved: Any) -> Cost:
    if not isinstance(saved, dict) or not isinstance(saved.get("benchmarks"), list):
        raise ValueError("it has no list of benchmarks, as pytest --benchmark-json writes")
    found = [_Benchmark.of(each) for each in saved["benchmarks"]]
    timed = [each for each in found if each.group == "training" and "subject" in each.info]
    grown = [each for each in found if each.group == "growth"]
    if not timed and not grown:
        raise ValueError("none of its benchmarks trains a subject or shows how cost grows")
    growth = (_growth(of, grown) for of in GROWS)
    return Cost(
        _facts(saved, [*timed, *grown]),
        tuple(_speeds(timed)),
        tuple(each for each in growth if each is not None),
    )


@dataclass(frozen=True)
class _Benchmark:
    name: str
    group: str | None
    info: Mapping[str, Any]
    rounds: int

    @classmethod
    def of(cls, saved: Any) -> "_Benchmark":
        if not isinstance(saved, dict) or not isinstance(saved.get("extra_info"), dict):
            raise ValueError("one of its benchmarks has no extra_info")
        stats = saved.get("stats")
        rounds = stats.get("rounds") if isinstance(stats, dict) else None
        return cls(
            str(saved.get("fullname", "?")),
            saved.get("group"),
            saved["extra_info"],
            rounds if type(rounds) is int else 1,
        )

    def text(self, key: str) -> str:
        value = self.info.get(key)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{key} of {self.name} is {value!r}, expected a text")
        return value

    def number(self, key: str) -> float:
        return self._number(key, self.info.get(key))

    def optional(self, key: str) -> float | None:
        return None if self.info.get(key) is None else self.number(key)

    def numbers(self, key: str, alone: str) -> dict[str, float]:
        """The numbers called `key` by name, or {}; a single one gets the name `alone`."""
        value = self.info.get(key)
        named = value if isinstance(value, dict) else {} if value is None else {alone: value}
        return {name: self._number(key, each) for name, each in named.items()}

    def _number(self, key: str, value: Any) -> float:
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise ValueError(f"{key} of {self.name} is {value!r}, expected a number above 0")
        return float(value)


OURS = "train_shadows"


def _speeds(timed: Iterable[_Benchmark]) -> list[Speeds]:
    """One for each subject and device, those with the most rounds first.

    Of a way that several benchmarks timed, as most do the loop, the one with the most rounds.
    """
    found: dict[tuple[str, str], Speeds] = {}
    for each in sorted(timed, key=lambda each: -each.rounds):
        subject, device = each.text("subject"), str(each.info.get("device", "cpu"))
        before = found.get((subject, device), Speeds(subject, device, (), None, None))
        known = {way.name for way in before.ways}
        found[subject, device] = replace(
            before,
            ways=(*before.ways, *(way for way in _ways(each) if way.name not in known)),
            gflops=before.gflops or each.optional("gflop_per_second"),
            share=before.share or each.optional("share_of_peak"),
        )
    return [_against_the_loop(each) for each in found.values()]


def _ways(each: _Benchmark) -> list[Way]:
    speeds = each.numbers("models_per_second", OURS)
    accuracies = each.numbers("accuracy", OURS)
    # The benchmark's own ratio is a median over rounds that took turns.
    ratios = each.numbers("ratio", alone=next(iter(speeds), OURS))
    ways = [Way(name, speeds[name], ratios.get(name), accuracies.get(name)) for name in speeds]
    loop_accuracy = each.optional("loop_accuracy")
    for threads, speed in each.numbers("loop_models_per_second", "1").items():
        name = f"plain loop, {threads} thread{'s' * (threads != '1')}"
        ways.append(Way(name, speed, None, loop_accuracy, loop=True))
    every_core = each.optional("loop_in_every_core_models_per_second")
    if every_core is not None:
        ways.append(Way("plain loop, a process a core", every_core, None, None))
    return ways


def _against_the_loop(speeds: Speeds) -> Speeds:
    """With ratios to the plain loop at its better number of threads."""
    best = max((way.speed for way in speeds.ways if way.loop), default=None)
    ways = (
        way if best is None or way.ratio is not None else replace(way, ratio=way.speed / best)
        for way in speeds.ways
    )
    return replace(speeds, ways=tuple(sorted(ways, key=lambda way: -way.speed)))


def _growth(of: str, grown: Iterable[_Benchmark]) -> Growth | None:
    """Growth with `of`; None where fewer than two counts were timed, which have no slope."""
    points = sorted(
        (each for each in grown if each.info.get("grows") == of), key=lambda each: each.number(of)
    )
    counts = [each.number(of) for each in points]
    if len(set(counts)) < 2:
        return None
    if len(set(counts)) < len(counts):
        raise ValueError(f"two of its benchmarks of growth have the same number of {of}")
    seconds = [each.numbers("seconds", "") for each in points]
    for part in PARTS:
        for each, split in zip(points, seconds, strict=True):
            if part not in split:
                raise ValueError(f"seconds of {each.name} lacks {part}")
    return Growth(
        of,
        points[0].text("says"),
        np.array(counts, np.int64),
        {part: np.array([split[part] for split in seconds]) for part in PARTS},
    )


def _facts(saved: Mapping[str, Any], shown: Iterable[_Benchmark]) -> dict[str, str]:
    """When, where and with what; several values where benchmarks ran in several places."""

    def values(name: str) -> str:
        seen = {str(each.info[name]) for each in shown if name in each.info}
        return " / ".join(sorted(seen))

    shown = list(shown)
    commit = saved.get("commit_info")
    commit = commit if isinstance(commit, dict) else {}
    facts = {
        "Measured": str(saved.get("datetime", ""))[:16].replace("T", " "),
        "Machine": values("machine"),
        "Device": values("device"),
        "Cores": values("cores"),
        "Versions": ", ".join(
            f"{name} {values(name)}" for name in ("python", "torch", "numpy") if values(name)
        ),
        "Commit": str(commit.get("id") or "")[:7] + "-dirty" * bool(commit.get("dirty")),
    }
    return {name: fact for name, fact in facts.items() if fact}
