"""Shadow models: who is IN, where their outputs lie, how they are trained."""

from benchsuite.shadows.bank import Execution, Fill, ShadowBank
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.fill import Progress, train_shadows
from benchsuite.shadows.shards import BankError

__all__ = [
    "COLUMNS",
    "BankError",
    "Execution",
    "Fill",
    "Progress",
    "ShadowBank",
    "train_shadows",
]
