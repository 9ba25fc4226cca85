"""Loads the claims plugin and the Hypothesis profiles."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["benchsuite.plugin", "pytester"]
collect_ignore = ["tests/example_repository"]  # a user's repository, which a test runs by itself

settings.register_profile("fast", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "fast")
)
