"""What differential privacy leaves an attacker on membership."""

import math


def advantage_ceiling(epsilon: float, delta: float) -> float:
    """Return the largest TPR - FPR at which any attack can tell IN from OUT.

    It is (e^epsilon - 1 + 2 delta) / (e^epsilon + 1), at the corner of the region of errors that
    (epsilon, delta) leaves, and holds for one example that joins or not, given all others.

    Args:
        epsilon: of the training, 0 or more; may be infinite.
        delta: of the same guarantee, from 0 to 1.

    Returns:
        In [0, 1]; 1 at an infinite epsilon.

    Raises:
        ValueError: a value outside its range.

    Source: P. Kairouz, S. Oh and P. Viswanath, The Composition Theorem for Differential Privacy
        (2015), for the region; T. Humphries et al., Investigating Membership Inference Attacks
        under Data Dependencies (2020), for the advantage.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon={epsilon} must be 0 or more; it may be infinite")
    if not 0 <= delta <= 1:
        raise ValueError(f"delta={delta} must be from 0 to 1")
    pure = math.tanh(epsilon / 2)  # (e^epsilon - 1) / (e^epsilon + 1), which never overflows
    return pure + delta * (1 - pure)
