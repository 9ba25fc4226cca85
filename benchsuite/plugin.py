"""The pytest plugin: options, tiers and what the terminal says; the fixtures are beside it."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from benchsuite.claim import TIERS, Claim
from benchsuite.report.build import build
from benchsuite.report.finding import models_saved
from benchsuite.report.schema import Result, read_results
from benchsuite.report.terminal import verdict_lines
from benchsuite.setting import Setting
from benchsuite.shadows.executors import parsed
from benchsuite.subject import BUILT_IN
from benchsuite.training import Precision, Strategy

pytest_plugins = ("benchsuite.fixtures",)

VERDICT = "verdict"
"""Name of the property by which a test's report carries its claim's verdict."""

DEFAULTS = {"--banks": ".banks", "--reports": "reports", "--executor": "local"}

RESULTS = pytest.StashKey[list[Result]]()
"""What this session of claims has recorded."""

PAGES = pytest.StashKey[list[Path]]()
"""Pages of audits that this session has written."""


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
        "--matrix",
        action="append",
        metavar="FILE",
        help="audit shadow models by this .npz, .csv or .parquet of their outputs (repeatable)",
    )
    group.addoption(
        "--target",
        metavar="NAME",
        help="audit this one model: module:attribute, a callable, or a file of its outputs",
    )
    group.addoption(
        "--outputs",
        choices=("logits", "probabilities"),
        help="what a target that is called returns (default: logits of an nn.Module, else "
        "probabilities)",
    )
    group.addoption(
        "--epsilon",
        type=float,
        metavar="E",
        help="tell on an audit's page what DP-SGD at this epsilon, and removals, would change",
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
        "--strategy",
        choices=get_args(Strategy),
        help="how to train new banks (default: the fastest, by timing, where training takes long)",
    )
    group.addoption(
        "--precision",
        choices=get_args(Precision),
        help="of products while new banks are trained (default: float32)",
    )
    group.addoption(
        "--executor",
        default=DEFAULTS["--executor"],
        metavar="WHERE",
        help="who trains: local, ray[:ADDRESS] or slurm[:PARTITION] (default: local)",
    )
    group.addoption(
        "--shadows",
        type=int,
        metavar="N",
        help="train only N shadow models a bank: fewer than declared is plumbing, not a verdict",
    )
    group.addoption(
        "--until-decided",
        action="store_true",
        help="train a part of the declared models first, and more only until a claim is decided",
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
    if config.getoption("--until-decided") and config.getoption("--shadows") is not None:
        raise pytest.UsageError(
            f"--until-decided decides on the declared models or fewer, and "
            f"--shadows={config.getoption('--shadows')} on so many that nothing is decided: leave "
            "one of them out"
        )
    try:
        parsed(config.getoption("--executor"))
    except ValueError as error:
        raise pytest.UsageError(f"--executor: {error}") from error
    config.stash[RESULTS] = []
    config.stash[PAGES] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each claim once per subject and tier."""
    claim: Claim | None = getattr(metafunc.function, "claim", None)
    if claim is None:
        return
    own = own_subjects(metafunc.config, metafunc.fixturenames)
    settings = [
        pytest.param(
            Setting(subject, tier), marks=getattr(pytest.mark, tier), id=f"{subject}-{tier}"
        )
        for tier in TIERS
        for subject in own or claim.subjects[tier]
    ]
    metafunc.parametrize("setting", settings, indirect=True, scope="session")


def own_subjects(config: pytest.Config, fixtures: Sequence[str]) -> list[str]:
    """What the user gave in place of the built-in subjects, for a claim with these fixtures."""
    given: list[str] = config.getoption("--audit" if "feature_audit" in fixtures else "--subject")
    matrices: list[str] = config.getoption("--matrix") if "audited" in fixtures else []
    return [*(given or ()), *(matrices or ())]


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
    if (saved := models_saved(results)) is not None:
        terminalreporter.write_line(f"\nmodels saved: {saved:,}, which no finding needed")
    try:
        page = build(Path(config.getoption("--reports")), root=config.rootpath)
    except (OSError, ValueError) as error:
        terminalreporter.write_line(f"no report: {error}", red=True)
        return
    terminalreporter.write_line(f"\nreport: {page}")
    for audit in config.stash[PAGES]:
        terminalreporter.write_line(f"audit:  {audit}")
