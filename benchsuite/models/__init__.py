"""What is trained: factories of ordinary PyTorch modules, importable and with plain arguments."""

from benchsuite.models.cnn import cnn32, digits_cnn
from benchsuite.models.densenet import densenet
from benchsuite.models.mlp import mlp
from benchsuite.models.regularised import with_batch_norm, with_dropout
from benchsuite.models.resnet import resnet9
from benchsuite.models.resnet18 import resnet18
from benchsuite.models.unique_feature_cnns import cnn1, cnn2

__all__ = [
    "cnn1",
    "cnn2",
    "cnn32",
    "densenet",
    "digits_cnn",
    "mlp",
    "resnet9",
    "resnet18",
    "with_batch_norm",
    "with_dropout",
]
