"""Shadow models: who is IN, where their outputs lie, how they are trained."""

from benchsuite.shadows.bank import Fill, ShadowBank
from benchsuite.shadows.clusters import ExecutorError
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced, Design, Joining, Lacking, Replacing, Tied
from benchsuite.shadows.execution import Execution
from benchsuite.shadows.executors import executor_for
from benchsuite.shadows.fill import Progress, train_shadows
from benchsuite.shadows.jobs import train_again
from benchsuite.shadows.shards import BankError

__all__ = [
    "COLUMNS",
    "Balanced",
    "BankError",
    "Design",
    "Execution",
    "ExecutorError",
    "Fill",
    "Joining",
    "Lacking",
    "Progress",
    "Replacing",
    "ShadowBank",
    "Tied",
    "executor_for",
    "train_again",
    "train_shadows",
]
