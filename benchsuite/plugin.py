"""The pytest plugin: options, tiers, fixtures that train, and the recording of results."""

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchsuite.claim import TIERS, Claim, Evidence, Tier, gather
from benchsuite.code_digest import code_digest
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.sizes import membership_size
from benchsuite.progress import TrainingProgress
from benchsuite.provenance import provenance
from benchsuite.report.artifacts import save_artifact
from benchsuite.report.build import build
from benchsuite.report.results import results_of
from benchsuite.report.schema import Artifact, Result, record
from benchsuite.report.terminal import failure, verdict_lines
from benchsuite.shadows import BankError, Fill, ShadowBank, train_shadows
from benchsuite.shadows.design import Balanced
from benchsuite.subject import BUILT_IN, Subject, load_subject, miniature

VERDICT = "verdict"
"""Name of the property by which a test's report carries its claim's verdict."""


@dataclass(frozen=True)
class Setting:
    """What one pytest item of a claim runs on."""

    subject: str
    tier: Tier

    def __str__(self) -> str:
        return f"{self.subject}-{self.tier}"


@dataclass(frozen=True)
class Trained:
    """A subject and the bank that this run trained, or found, for it.

    Attributes:
        subject: that was trained.
        bank: of at least so many models as the run asked for.
        fill: what of it was trained in this run.
        references: the first so many models are the attacker's.
        targets: so many more are attacked; the rest of the bank, if any, is another run's.
        decides: whether that is the declared size, at the declared scale.
    """

    subject: Subject
    bank: ShadowBank
    fill: Fill
    references: int
    targets: int
    decides: bool


class Session:
    """What one pytest session of claims has recorded."""

    def __init__(self) -> None:
        self.results: list[Result] = []


SESSION = pytest.StashKey[Session]()


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
        "--banks", default=".banks", metavar="DIR", help="where shadow banks lie (default: .banks)"
    )
    group.addoption(
        "--reports", default="reports", metavar="DIR", help="where results and the report go"
    )
    group.addoption(
        "--device",
        metavar="DEVICE",
        help="where to train, such as cpu or cuda (default: CUDA if any)",
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
    config.stash[SESSION] = Session()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each claim once per subject and tier."""
    claim: Claim | None = getattr(metafunc.function, "claim", None)
    if claim is None:
        return
    own = metafunc.config.getoption("--subject")
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


# ---- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def setting(request: pytest.FixtureRequest) -> Setting:
    """Subject and tier of the claims that run now."""
    chosen: Setting = request.param
    return chosen


@pytest.fixture(scope="session")
def trained(setting: Setting, pytestconfig: pytest.Config) -> Trained:
    """The setting's subject with its shadow bank, trained as far as the bank lacks it."""
    device = pytestconfig.getoption("--device")
    gpu = setting.tier == "gpu"
    if gpu and device is None and not torch.cuda.is_available():
        message = "the gpu tier needs CUDA; --device cpu runs it in miniature, as plumbing"
        if os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail(f"REQUIRE_GPU=1: {message}", pytrace=False)
        pytest.skip(message)
    try:
        subject = load_subject(setting.subject)
        in_miniature = gpu and device == "cpu"
        if in_miniature:
            subject = miniature(subject)
        design = Balanced(len(subject.pool), subject.share)
        shadows = pytestconfig.getoption("--shadows")
        declared = membership_size(setting.subject, setting.tier, design, None)
        if in_miniature and shadows is None:
            shadows = 4 * design.block
        size = membership_size(setting.subject, setting.tier, design, shadows)
        progress = TrainingProgress(pytestconfig, subject.name)
        bank = train_shadows(
            subject,
            design.block * (size.references + size.targets),
            folder=pytestconfig.getoption("--banks"),
            device=device,
            progress=progress,
        )
    except (ValueError, BankError) as error:
        pytest.fail(str(error), pytrace=False)
    assert bank.fill is not None
    progress.finish(bank.fill)
    enough = size.references >= declared.references and size.targets >= declared.targets
    return Trained(
        subject,
        bank,
        bank.fill,
        design.block * size.references,
        design.block * size.targets,
        decides=enough and not in_miniature,
    )


@pytest.fixture(scope="session")
def membership(trained: Trained) -> MembershipExperiment:
    """The membership paper's experiment on the setting's bank."""
    bank = trained.bank
    rows = slice(trained.references + trained.targets)
    return MembershipExperiment(
        bank.column("pool", "confidence")[rows],
        bank.column("pool", "correct")[rows],
        bank.membership[rows],
        trained.references,
        bank.design.block,
        pool=trained.subject.pool,
    )


@pytest.fixture
def decide_claim(
    request: pytest.FixtureRequest, setting: Setting, trained: Trained
) -> Callable[[Claim, Any], None]:
    """Decides a claim on an experiment, records it, and fails unless it came out as declared."""

    def run(claim: Claim, experiment: Any) -> None:
        evidence = gather(claim, experiment, setting.subject, setting.tier)
        if not trained.decides:
            evidence = evidence.as_plumbing()
        results = _record(request, claim, experiment, evidence, setting, trained)
        request.node.user_properties.append((VERDICT, evidence.verdict))
        if not evidence.as_expected:
            pytest.fail(failure(results), pytrace=False)

    return run


def _record(
    request: pytest.FixtureRequest,
    claim: Claim,
    experiment: Any,
    evidence: Evidence,
    setting: Setting,
    trained: Trained,
) -> list[Result]:
    config = request.config
    folder = Path(config.getoption("--reports"))
    stem = f"{claim.id}.{trained.subject.name}.{setting.tier}"
    bank = trained.bank
    results = results_of(
        claim,
        evidence,
        subject=trained.subject.name,
        tier=setting.tier,
        artifacts=_save_figures(claim, experiment, folder, stem) if evidence.resolved else (),
        cost={
            "train_seconds": trained.fill.seconds,
            "models_trained": trained.fill.models_trained,
            "models_reused": trained.fill.models_reused,
        },
        rerun=_rerun(request, setting),
        provenance={
            **provenance(bank.execution.device, config.rootpath),
            "seed": bank.design.seed,
            "data": trained.subject.pool.digest,
            "bank": bank.key,
            "accuracy": float(bank.column("test", "correct").mean()),
        },
    )
    record(folder, results)
    config.stash[SESSION].results += results
    return results


def _save_figures(claim: Claim, experiment: Any, folder: Path, stem: str) -> tuple[Artifact, ...]:
    return tuple(
        save_artifact(folder, kind, stem, **arrays)
        for kind in claim.figures
        if (arrays := experiment.figure(kind)) is not None
    )


def _rerun(request: pytest.FixtureRequest, setting: Setting) -> str:
    node = request.node
    file = Path(node.path).relative_to(request.config.rootpath).as_posix()
    own = request.config.getoption("--subject")
    return " ".join(
        [
            f"pytest {file}::{node.originalname}",
            f"-m {setting.tier}",
            *([f"--subject {setting.subject}"] if own else [f"-k {setting.subject}"]),
        ]
    )


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
    results = config.stash[SESSION].results
    if not results:
        return
    terminalreporter.section("findings")
    terminalreporter.write_line(verdict_lines(results))
    try:
        page = build(Path(config.getoption("--reports")), current_code=code_digest())
    except (OSError, ValueError) as error:
        terminalreporter.write_line(f"no report: {error}", red=True)
        return
    terminalreporter.write_line(f"\nreport: {page}")
