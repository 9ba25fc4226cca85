"""Worlds whose truth is known: per example, how often and how surely models are right."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.sizes import MEMBERSHIP_SIZES
from benchsuite.shadows.design import Balanced

ROOT = Path(__file__).parents[2]


def load_claims(file):
    """The claims of a file of the folder `claims`, by id."""
    path = ROOT / "claims" / file
    spec = importlib.util.spec_from_file_location(f"claims_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    return {test.claim.id: test.claim for test in tests}


def gaussian(rng, membership):
    return rng.standard_normal(membership.shape)


@dataclass(frozen=True, eq=False)
class World:
    """What is true of each example, all [examples].

    A model's confidence is mean + sd z, and it is right where z is among the p highest of its side.
    """

    p_in: np.ndarray
    p_out: np.ndarray
    mean_in: np.ndarray
    mean_out: np.ndarray
    sd_in: np.ndarray
    sd_out: np.ndarray
    noise: Callable[[np.random.Generator, np.ndarray], np.ndarray] = gaussian

    def experiment(self, seed):
        """As many models drawn from this world as the cpu tier trains."""
        design, size = Balanced(len(self.p_in), seed=seed), MEMBERSHIP_SIZES["cpu"]
        membership = design.rows(0, design.block * (size.references + size.targets))
        z = self.noise(np.random.default_rng(seed), membership)
        mean = np.where(membership, self.mean_in, self.mean_out)
        sd = np.where(membership, self.sd_in, self.sd_out)
        return MembershipExperiment(
            (mean + sd * z).astype(np.float32),
            z > ndtri(1 - np.where(membership, self.p_in, self.p_out)),
            membership,
            design.block * size.references,
            design.block,
            seed=seed,
        )


def memorization_like_the_digits():
    """Of 256 examples: three quarters not memorized, and a tail to one that is thickest there."""
    tail = np.concatenate(
        [
            np.geomspace(0.02, 0.1, 12, endpoint=False),
            np.linspace(0.1, 0.7, 32, endpoint=False),
            np.linspace(0.7, 0.99, 20),
        ]
    )
    return np.concatenate([np.zeros(256 - len(tail)), tail])


def like_the_digits(mem=None, **changes):
    """A world like the digits': IN models are always right, and surer.

    OUT models are right with probability 1 - mem and their confidences vary more. A third of the
    examples that no model memorizes can be told apart by confidence alone.
    """
    mem = memorization_like_the_digits() if mem is None else mem
    hard = mem > 0
    surer = np.where(np.arange(len(mem)) % 3 == 0, 1.2, 0.15)
    sd_out = np.where(hard, 2.0, 1.0)
    truth = {
        "p_in": np.ones_like(mem),
        "p_out": 1 - mem,
        "mean_in": np.where(hard, 3.5, 7 + surer),
        "mean_out": np.where(hard, sd_out * ndtri(1 - np.maximum(mem, 0.01)), 7.0),
        "sd_in": np.ones_like(mem),
        "sd_out": sd_out,
    }
    return World(**{**truth, **changes})
