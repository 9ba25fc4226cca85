"""The fixtures of claims: what trains a setting's banks, its experiments, and the deciding."""

import os
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from benchsuite.audit_setting import audit_matrix, audit_recipe, load_target
from benchsuite.auditing.experiment import AuditExperiment
from benchsuite.claim import Claim, gather
from benchsuite.data.sources import DataUnavailable
from benchsuite.experiments.attack_bank import AttackBank
from benchsuite.experiments.attack_groups import AttackExperiment
from benchsuite.experiments.canaries import CanaryExperiment
from benchsuite.experiments.feature_audit import FeatureAuditExperiment, load_feature_case
from benchsuite.experiments.growing import GrowingMembership
from benchsuite.experiments.locality import LocalityExperiment
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.onion import OnionExperiment
from benchsuite.experiments.oracles import OracleExperiment
from benchsuite.experiments.outliers import OutlierExperiment
from benchsuite.experiments.planting import PlantingExperiment
from benchsuite.experiments.precision import PrecisionExperiment
from benchsuite.experiments.privacy import PrivacyExperiment
from benchsuite.experiments.sizes import ONION_SIZES, OnionSize
from benchsuite.experiments.svm_onion import SvmOnion
from benchsuite.experiments.twins import TwinsExperiment
from benchsuite.plugin import DEFAULTS, PAGES, RESULTS, VERDICT, own_subjects
from benchsuite.progress import TrainingProgress
from benchsuite.recording import Ground, record_evidence
from benchsuite.report.terminal import failure
from benchsuite.sequential import LOOKS, gather_until_decided
from benchsuite.setting import (
    Prepared,
    Setting,
    Trained,
    TrainedAttacks,
    TrainedFor,
    prepare,
    train_attacks,
    train_canaries,
    train_growing,
    train_planting,
    train_precision,
    train_private,
    train_setting,
)
from benchsuite.shadows import BankError, ExecutorError, ShadowBank, executor_for
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop

Made = TypeVar("Made")


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
def trained_growing(setting: Setting, pytestconfig: pytest.Config) -> TrainedFor[GrowingMembership]:
    """The setting's subject with as much of its shadow bank as a first look needs."""
    return _run_or_say(lambda: train_growing(_prepared(setting, pytestconfig), LOOKS[0]))


@pytest.fixture(scope="session")
def trained_canaries(setting: Setting, pytestconfig: pytest.Config) -> TrainedFor[CanaryExperiment]:
    """The setting's subject with its bank of models that have canaries."""
    return _run_or_say(lambda: train_canaries(_prepared(setting, pytestconfig)))


@pytest.fixture(scope="session")
def trained_private(setting: Setting, pytestconfig: pytest.Config) -> TrainedFor[PrivacyExperiment]:
    """The setting's subject with its plain models, beside which private ones are trained."""
    return _run_or_say(lambda: train_private(_prepared(setting, pytestconfig)))


@pytest.fixture(scope="session")
def trained_planting(
    setting: Setting, pytestconfig: pytest.Config
) -> TrainedFor[PlantingExperiment]:
    """The setting's subject with its worlds of planted singletons."""
    return _run_or_say(lambda: train_planting(_prepared(setting, pytestconfig)))


@pytest.fixture(scope="session")
def trained_precision(
    setting: Setting, pytestconfig: pytest.Config
) -> TrainedFor[PrecisionExperiment]:
    """The setting's subject with its float32 models, which other precisions are held against."""
    return _run_or_say(lambda: train_precision(_prepared(setting, pytestconfig)))


@pytest.fixture(scope="session")
def trained_attacks(setting: Setting, pytestconfig: pytest.Config) -> TrainedAttacks:
    """The setting's subject with its bank of models that are attacked in every way."""
    return _run_or_say(lambda: train_attacks(_prepared(setting, pytestconfig)))


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
            executor=_executor(config),
            strategy=config.getoption("--strategy"),
            precision=config.getoption("--precision"),
        )
    except DataUnavailable as error:
        if setting.tier == "cpu":  # which asks for no download: it decides what is here
            pytest.skip(str(error))
        pytest.fail(str(error), pytrace=False)
    except (ValueError, ExecutorError, ImportError) as error:
        pytest.fail(str(error), pytrace=False)


_EXECUTOR = pytest.StashKey[Executor | None]()


def _executor(config: pytest.Config) -> Executor | None:
    """The session's, which is left when pytest ends."""
    if _EXECUTOR not in config.stash:
        executor = executor_for(config.getoption("--executor"))
        config.stash[_EXECUTOR] = executor
        if executor is not None:
            config.add_cleanup(partial(executor.shutdown, cancel_futures=True))
    return config.stash[_EXECUTOR]


def _run_or_say(make: Callable[[], Made]) -> Made:
    try:
        return make()
    except (ValueError, BankError, ExecutorError, DataUnavailable, ImportError) as error:
        message = str(error)
    pytest.fail(message, pytrace=False)  # outside, or pytest would print the error as well


@pytest.fixture(scope="session")
def membership(request: pytest.FixtureRequest, setting: Setting) -> MembershipExperiment:
    """The membership paper's experiment on the setting's bank."""
    if _until_decided(request.config, setting):
        growing: TrainedFor[GrowingMembership] = request.getfixturevalue("trained_growing")
        return growing.experiment
    trained: Trained = request.getfixturevalue("trained")
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
def audited(
    request: pytest.FixtureRequest, setting: Setting, pytestconfig: pytest.Config
) -> AuditExperiment:
    """The audit of a recipe or a matrix, and of one model; its page lies beside the report."""
    option = pytestconfig.getoption

    def find() -> AuditExperiment:
        target, epsilon = option("--target"), option("--epsilon")
        asked = None if target is None else load_target(target)
        if setting.subject in (option("--matrix") or ()):
            if setting.tier != "cpu":
                pytest.skip("a matrix has no tier: it is audited at the cpu tier")
            return audit_matrix(setting.subject, asked, epsilon, option("--outputs"))
        prepared = _prepared(setting, pytestconfig)
        return audit_recipe(prepared, asked, epsilon, option("--outputs"))

    experiment = _run_or_say(find)
    on_page = experiment.page or experiment.found
    pages, folder = pytestconfig.stash[PAGES], Path(option("--reports"))
    page = folder / f"audit-{on_page.name}.html"
    if page in pages:  # of another file of that name
        page = folder / f"audit-{on_page.name}-{len(pages) + 1}.html"
    pages.append(on_page.to_html(page))
    return experiment


@pytest.fixture(scope="session")
def canaries(trained_canaries: TrainedFor[CanaryExperiment]) -> CanaryExperiment:
    """The unique-feature paper's experiments on models with canaries."""
    return trained_canaries.experiment


@pytest.fixture(scope="session")
def attacks(trained_attacks: TrainedAttacks) -> AttackExperiment:
    """The membership paper's attacks on groups of examples."""
    return AttackExperiment(*_attacked_by(trained_attacks))


@pytest.fixture(scope="session")
def outliers(trained_attacks: TrainedAttacks) -> OutlierExperiment:
    """The membership paper's experiments on outliers and singletons."""
    return OutlierExperiment(*_attacked_by(trained_attacks))


@pytest.fixture(scope="session")
def oracles(trained_attacks: TrainedAttacks) -> OracleExperiment:
    """What the membership paper takes for granted: oracles of memorization, and Gaussians."""
    return OracleExperiment(*_attacked_by(trained_attacks))


@pytest.fixture(scope="session")
def private(trained_private: TrainedFor[PrivacyExperiment]) -> PrivacyExperiment:
    """The subject with and without differential privacy."""
    return trained_private.experiment


@pytest.fixture(scope="session")
def planting(trained_planting: TrainedFor[PlantingExperiment]) -> PlantingExperiment:
    """Worlds with planted singletons."""
    return trained_planting.experiment


@pytest.fixture(scope="session")
def bf16(trained_precision: TrainedFor[PrecisionExperiment]) -> PrecisionExperiment:
    """Models that are trained in bf16, beside float32's."""
    return trained_precision.experiment


@pytest.fixture(scope="session")
def tf32(request: pytest.FixtureRequest, setting: Setting) -> PrecisionExperiment:
    """The same in TF32, which only CUDA devices have."""
    device = request.config.getoption("--device") or ("cuda" if setting.tier == "gpu" else "cpu")
    if not device.startswith("cuda"):
        pytest.skip(f"TF32 is a CUDA device's, and models are trained on {device} here")
    trained: TrainedFor[PrecisionExperiment] = request.getfixturevalue("trained_precision")
    return trained.experiment.at("tf32")


def _attacked_by(trained: TrainedAttacks) -> tuple[Any, ...]:
    cache = trained.cache
    return trained.subject, trained.bank, trained.size, trained.workshop, "", cache


def _onion_of(trained: Trained) -> tuple[Subject, ShadowBank, OnionSize, Workshop]:
    size = ONION_SIZES["smoke" if trained.miniature else trained.setting.tier]
    return trained.subject, trained.bank, size, trained.workshop


@pytest.fixture
def decide_claim(request: pytest.FixtureRequest, setting: Setting) -> Callable[[Claim, Any], None]:
    """Decides a claim on an experiment, records it, and fails unless it came out as declared."""

    def run(claim: Claim, experiment: Any) -> None:
        trained: Trained | None = None
        until_decided = _until_decided(request.config, setting)
        noting: AbstractContextManager[list[ShadowBank]] = nullcontext([])
        if isinstance(experiment, FeatureAuditExperiment):
            ground = Ground(experiment.case.name, setting.tier, experiment.case.digest, None)
        elif isinstance(experiment, AuditExperiment):
            ground = Ground(experiment.found.name, setting.tier, experiment.digest, None)
        else:
            trained = request.getfixturevalue(_trained_for(experiment))
            data = trained.subject.pool.digest
            ground = Ground(trained.subject.name, setting.tier, data, trained.bank)
            noting = trained.workshop.noting()
        try:
            with noting as banks:
                if until_decided and trained is not None:
                    evidence, experiment = gather_until_decided(
                        claim, experiment, setting.subject, setting.tier
                    )
                else:
                    evidence = gather(claim, experiment, setting.subject, setting.tier)
        except (BankError, ExecutorError, DataUnavailable, ImportError) as error:
            pytest.fail(str(error), pytrace=False)
        if isinstance(experiment, GrowingMembership):
            ground = ground._replace(bank=experiment.bank)  # as it is now
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


def _until_decided(config: pytest.Config, setting: Setting) -> bool:
    """Whether models are trained in parts: not where nothing is decided."""
    miniature = setting.tier == "gpu" and config.getoption("--device") == "cpu"
    return bool(config.getoption("--until-decided")) and setting.tier != "smoke" and not miniature


_OWN_BANKS: dict[type[Any], str] = {
    GrowingMembership: "trained_growing",
    CanaryExperiment: "trained_canaries",
    PrivacyExperiment: "trained_private",
    PlantingExperiment: "trained_planting",
    PrecisionExperiment: "trained_precision",
}


def _trained_for(experiment: Any) -> str:
    """Name of the fixture that trained what the experiment is on."""
    for kind, fixture in _OWN_BANKS.items():
        if isinstance(experiment, kind):
            return fixture
    return "trained_attacks" if isinstance(experiment, AttackBank) else "trained"


def _rerun(request: pytest.FixtureRequest, setting: Setting) -> str:
    """The command that runs this item again, with the options that matter to it."""
    config, node = request.config, request.node
    file = Path(node.path).relative_to(config.rootpath).as_posix()
    option = "--audit" if "feature_audit" in request.fixturenames else "--subject"
    if setting.subject in (config.getoption("--matrix") or ()):
        option = "--matrix"
    own = own_subjects(config, request.fixturenames)
    words = [f"pytest {file}::{node.originalname}", f"-m {setting.tier}"]
    words.append(f"{option} {setting.subject}" if own else f"-k {setting.subject}")
    audits = ("--target", "--outputs", "--epsilon") if "audited" in request.fixturenames else ()
    for other in (
        *audits,
        "--device",
        "--strategy",
        "--precision",
        "--executor",
        "--shadows",
        "--banks",
        "--reports",
    ):
        value = config.getoption(other)
        if value not in (None, DEFAULTS.get(other)):
            words.append(f"{other} {value}")
    if config.getoption("--until-decided"):
        words.append("--until-decided")
    return " ".join(words)
