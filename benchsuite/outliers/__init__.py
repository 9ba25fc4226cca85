"""What lies apart: scores of being out of distribution, and a small subpopulation."""

from benchsuite.outliers.energy import energy_score
from benchsuite.outliers.softmax import msp_score
from benchsuite.outliers.subpopulation import smallest_cluster

__all__ = ["energy_score", "msp_score", "smallest_cluster"]
