"""The pytest plugin: options, tiers, fixtures that train, and what the terminal says."""

import os
import re
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from benchsuite.claim import TIERS, Claim, gather
from benchsuite.data.sources import DataUnavailable
from benchsuite.experiments.canaries import CanaryExperiment
from benchsuite.experiments.feature_audit import FeatureAuditExperiment, load_feature_case
from benchsuite.experiments.locality import LocalityExperiment
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.onion import OnionExperiment
from benchsuite.experiments.sizes import ONION_SIZES, OnionSize
from benchsuite.experiments.svm_onion import SvmOnion
from benchsuite.experiments.twins import TwinsExperiment
from benchsuite.progress import TrainingProgress
from benchsuite.recording import Ground, record_evidence
from benchsuite.report.build import build
from benchsuite.report.schema import Result, read_results
from benchsuite.report.terminal import failure, verdict_lines
from benchsuite.setting import (
    Prepared,
    Setting,
    Trained,
    TrainedCanaries,
    prepare,
    train_canaries,
    train_setting,
)
from benchsuite.shadows import BankError, ShadowBank
from benchsuite.subject import BUILT_IN, Subject
from benchsuite.workshop import Workshop

AnyTrained = TypeVar("AnyTrained", bound=Trained)

VERDICT = "verdict"
"""Name of the property by which a test's report carries its claim's verdict."""

DEFAULTS = {"--banks": ".banks", "--reports": "reports"}

RESULTS = pytest.StashKey[list[Result]]()
"""What this session of claims has recorded."""


# ---- options and tiers ---------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of claims, and `--benchmark`."""
    group = parser.getgroup("benchsuite", "claims about memorization and membership inference")
    group.addoption(
        "--subject",
        action="append",
        metavar="NAME",
        help="run the claims on this built-in subject or on module:attribute (repeatable)",
    )
    group.addoption(
        "--audit",
        action="append",
        metavar="NAME",
        help="audit this FeatureCase, module:attribute, for a unique feature (repeatable)",
    )
    group.addoption(
        "--banks",
        default=DEFAULTS["--banks"],
        metavar="DIR",
        help="where shadow banks lie (default: .banks)",
    )
    group.addoption(
        "--reports",
        default=DEFAULTS["--reports"],
        metavar="DIR",
        help="where results and the report go",
    )
    group.addoption(
        "--device",
        metavar="DEVICE",
        help="where to train, such as cpu or cuda (default: cuda for the gpu tier, else cpu)",
    )
    group.addoption(
        "--shadows",
        type=int,
        metavar="N",
        help="train only N shadow models a bank: fewer than declared is plumbing, not a verdict",
    )
    # Exactly this flag: pytest-benchmark registers --benchmark-* alone and pytest takes no
    # abbreviations.
    group.addoption(
        "--benchmark",
        action="store_true",
        dest="benchsuite_benchmark",
        help="run the benchmarks alone",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the tiers; refuse a subject that cannot be meant."""
    config.addinivalue_line("markers", "smoke: tiny models; shows that it runs, decides nothing")
    config.addinivalue_line("markers", "cpu: real verdicts on a laptop; what claims run by default")
    config.addinivalue_line("markers", "gpu: the papers' data sets and models; needs a GPU")
    for subject in config.getoption("--subject") or ():
        if ":" not in subject and subject not in BUILT_IN:
            raise pytest.UsageError(
                f"--subject={subject} is unknown: use module:attribute, or one of "
                f"{', '.join(BUILT_IN)}"
            )
    config.stash[RESULTS] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each claim once per subject and tier."""
    claim: Claim | None = getattr(metafunc.function, "claim", None)
    if claim is None:
        return
    audits = "feature_audit" in metafunc.fixturenames
    own = metafunc.config.getoption("--audit" if audits else "--subject")
    settings = [
        pytest.param(
            Setting(subject, tier), marks=getattr(pytest.mark, tier), id=f"{subject}-{tier}"
        )
        for tier in TIERS
        for subject in own or claim.subjects[tier]
    ]
    metafunc.parametrize("setting", settings, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave claims of other tiers than cpu out unless asked for, and benchmarks likewise."""
    asked = config.option.markexpr
    if any(_setting_of(item) for item in items):
        _check_claims_can_run(config, asked)
    keep_cpu_alone = not any(tier in asked for tier in TIERS)
    benchmarks = config.option.benchsuite_benchmark
    wanted_by_its_own_flags = config.getoption("benchmark_only", False) or config.getoption(
        "benchmark_enable", False
    )

    def kept(item: pytest.Item) -> bool:
        is_benchmark = "benchmark" in getattr(item, "fixturenames", ())
        if benchmarks or is_benchmark:
            return is_benchmark and (benchmarks or wanted_by_its_own_flags)
        setting = _setting_of(item)
        return setting is None or not keep_cpu_alone or setting.tier == "cpu"

    left_out = [item for item in items if not kept(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if kept(item)]


def _setting_of(item: pytest.Item) -> Setting | None:
    callspec = getattr(item, "callspec", None)
    setting = None if callspec is None else callspec.params.get("setting")
    return setting if isinstance(setting, Setting) else None


def _check_claims_can_run(config: pytest.Config, asked: str) -> None:
    """Refuse what would fail only after minutes of training, or silently select nothing."""
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "claims do not run under -n: their models train in parallel within one process; run "
            "pytest claims without it"
        )
    known = {re.split(r"[:(]", line)[0].strip() for line in config.getini("markers")}
    names = set(re.findall(r"[^\W\d]\w*", asked)) - {"and", "or", "not"}
    if unknown := sorted(names - known):
        raise pytest.UsageError(f"-m {unknown[0]}: unknown tier; use one of {', '.join(TIERS)}")
    for option in ("--reports", "--banks"):
        folder = Path(config.getoption(option))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise pytest.UsageError(
                f"{option}={folder} cannot be written ({error.strerror}): give another folder"
            ) from error
    try:
        read_results(config.getoption("--reports"))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


# ---- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def setting(request: pytest.FixtureRequest) -> Setting:
    """Subject and tier of the claims that run now."""
    chosen: Setting = request.param
    return chosen


@pytest.fixture(scope="session")
def trained(setting: Setting, pytestconfig: pytest.Config) -> Trained:
    """The setting's subject with its shadow bank, trained as far as the bank lacks it."""
    return _run_or_say(lambda: train_setting(_prepared(setting, pytestconfig)))


@pytest.fixture(scope="session")
def trained_canaries(setting: Setting, pytestconfig: pytest.Config) -> TrainedCanaries:
    """The setting's subject with its bank of models that have canaries."""
    return _run_or_say(lambda: train_canaries(_prepared(setting, pytestconfig)))


def _prepared(setting: Setting, config: pytest.Config) -> Prepared:
    device = config.getoption("--device")
    if setting.tier == "gpu" and device is None and not torch.cuda.is_available():
        message = "the gpu tier needs CUDA; --device cpu runs it in miniature, as plumbing"
        if os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail(f"REQUIRE_GPU=1: {message}", pytrace=False)
        pytest.skip(message)
    try:
        return prepare(
            setting,
            folder=config.getoption("--banks"),
            device=device,
            shadows=config.getoption("--shadows"),
            watch=partial(TrainingProgress, config),
        )
    except DataUnavailable as error:
        if setting.tier == "cpu":  # which asks for no download: it decides what is here
            pytest.skip(str(error))
        pytest.fail(str(error), pytrace=False)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)


def _run_or_say(train: Callable[[], AnyTrained]) -> AnyTrained:
    try:
        return train()
    except (ValueError, BankError, DataUnavailable) as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def membership(trained: Trained) -> MembershipExperiment:
    """The membership paper's experiment on the setting's bank."""
    bank = trained.bank
    return MembershipExperiment(
        bank.column("pool", "confidence"),
        bank.column("pool", "correct"),
        bank.membership,
        trained.references,
        bank.design.block,
        pool=trained.subject.pool,
    )


@pytest.fixture(scope="session")
def attacked(trained: Trained) -> dict[Any, Any]:
    """The worlds that the setting's experiments have attacked, for all of them."""
    return {}


@pytest.fixture(scope="session")
def onion(trained: Trained, attacked: dict[Any, Any]) -> OnionExperiment:
    """The onion paper's experiments on layers, its worlds beside the setting's bank."""
    return OnionExperiment(*_onion_of(trained), cache=attacked)


@pytest.fixture(scope="session")
def twins(trained: Trained, attacked: dict[Any, Any]) -> TwinsExperiment:
    """The onion paper's experiments on duplicates."""
    return TwinsExperiment(*_onion_of(trained), cache=attacked)


@pytest.fixture(scope="session")
def locality(trained: Trained, attacked: dict[Any, Any]) -> LocalityExperiment:
    """The onion paper's experiments on single targets."""
    return LocalityExperiment(*_onion_of(trained), cache=attacked)


@pytest.fixture(scope="session")
def svm(trained: Trained) -> SvmOnion:
    """Support vector machines on the setting's pool."""
    pool = trained.subject.pool
    units = 2 if trained.setting.tier == "smoke" else 8  # a part of too few has no inert examples
    return SvmOnion(pool.inputs(), pool.labels, units, seed=trained.bank.design.seed)


@pytest.fixture(scope="session")
def feature_audit(setting: Setting) -> FeatureAuditExperiment:
    """The audit of one trained model for one feature."""
    try:
        return FeatureAuditExperiment(load_feature_case(setting.subject))
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def canaries(trained_canaries: TrainedCanaries) -> CanaryExperiment:
    """The unique-feature paper's experiments on models with canaries."""
    return trained_canaries.experiment


def _onion_of(trained: Trained) -> tuple[Subject, ShadowBank, OnionSize, Workshop]:
    size = ONION_SIZES["smoke" if trained.miniature else trained.setting.tier]
    return trained.subject, trained.bank, size, trained.workshop


@pytest.fixture
def decide_claim(request: pytest.FixtureRequest, setting: Setting) -> Callable[[Claim, Any], None]:
    """Decides a claim on an experiment, records it, and fails unless it came out as declared."""

    def run(claim: Claim, experiment: Any) -> None:
        trained: Trained | None = None
        noting: AbstractContextManager[list[ShadowBank]] = nullcontext([])
        if isinstance(experiment, FeatureAuditExperiment):
            ground = Ground(experiment.case.name, setting.tier, experiment.case.digest, None)
        else:
            with_canaries = isinstance(experiment, CanaryExperiment)
            trained = request.getfixturevalue("trained_canaries" if with_canaries else "trained")
            data = trained.subject.pool.digest
            ground = Ground(trained.subject.name, setting.tier, data, trained.bank)
            noting = trained.workshop.noting()
        try:
            with noting as banks:
                evidence = gather(claim, experiment, setting.subject, setting.tier)
        except (BankError, DataUnavailable) as error:
            pytest.fail(str(error), pytrace=False)
        if trained is not None and not trained.decides:
            evidence = evidence.as_plumbing()
        folder = Path(request.config.getoption("--reports"))
        results = record_evidence(
            folder,
            claim,
            experiment,
            evidence,
            ground,
            banks,
            rerun=_rerun(request, setting),
            clone=request.config.rootpath,
        )
        request.config.stash[RESULTS] += results
        request.node.user_properties.append((VERDICT, evidence.verdict))
        if not evidence.as_expected:
            pytest.fail(failure(results), pytrace=False)

    return run


def _rerun(request: pytest.FixtureRequest, setting: Setting) -> str:
    """The command that runs this item again, with the options that matter to it."""
    config, node = request.config, request.node
    file = Path(node.path).relative_to(config.rootpath).as_posix()
    option = "--audit" if "feature_audit" in request.fixturenames else "--subject"
    own = config.getoption(option)
    words = [f"pytest {file}::{node.originalname}", f"-m {setting.tier}"]
    words.append(f"{option} {setting.subject}" if own else f"-k {setting.subject}")
    for other in ("--device", "--shadows", "--banks", "--reports"):
        value = config.getoption(other)
        if value not in (None, DEFAULTS.get(other)):
            words.append(f"{other} {value}")
    return " ".join(words)


# ---- what the terminal shows ---------------------------------------------------------------------


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport, config: pytest.Config
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Say a claim's verdict instead of "passed" or "failed"."""
    if report.when != "call":
        return None
    verdict = dict(getattr(report, "user_properties", ())).get(VERDICT)
    if verdict is None:
        return None
    as_declared = report.passed and verdict in ("refuted", "inconclusive")
    word = f"{verdict} as declared" if as_declared else str(verdict)
    colour = {"green": True} if report.passed else {"red": True}
    category = word if report.passed else "failed"
    return category, {"supported": "s", "plumbing": "p"}.get(str(verdict), "R"), (word, colour)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print one line per finding and where the report is."""
    results = config.stash[RESULTS]
    if not results:
        return
    terminalreporter.section("findings")
    terminalreporter.write_line(verdict_lines(results))
    try:
        page = build(Path(config.getoption("--reports")), root=config.rootpath)
    except (OSError, ValueError) as error:
        terminalreporter.write_line(f"no report: {error}", red=True)
        return
    terminalreporter.write_line(f"\nreport: {page}")
