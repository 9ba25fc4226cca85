"""Divergences, likelihood ratios, ROC, intervals and verdicts: NumPy in, NumPy out, no models."""
