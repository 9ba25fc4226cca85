"""What is trained: factories of ordinary PyTorch modules, importable and with plain arguments."""

from benchsuite.models.cnn import cnn32, digits_cnn
from benchsuite.models.mlp import mlp
from benchsuite.models.resnet import resnet9

__all__ = ["cnn32", "digits_cnn", "mlp", "resnet9"]
