"""The built-in subjects: a laptop's, and each paper's data, networks and recipes."""

from benchsuite.subjects.digits import (
    digits_cnn,
    digits_mlp,
    digits_tiny,
)
from benchsuite.subjects.membership import (
    breast_cancer_mlp,
    cifar10_augcifar10_resnet18,
    cifar10_cifar100_resnet9,
    cifar10_resnet9_70,
    digits_mix_tiny,
    digits_photos,
    digits_pixmix,
    docstrings_mlp,
    mnist_augmnist_cnn32,
    mnist_cifar10_cnn64,
    mnist_cnn32,
    mnist_svhn_cnn32,
    mnist_usps_cnn32,
)
from benchsuite.subjects.onion import (
    cifar10_resnet9,
    cifar100_resnet9,
)
from benchsuite.subjects.unique_features import (
    cifar10_cnn2,
    cifar10_densenet,
    digits28_mlp,
    digits28_tiny,
    fashion_mnist_cnn1,
    fashion_mnist_mlp,
    mnist_cnn1,
    mnist_mlp,
    mnist_mlp_small,
)

__all__ = [
    "breast_cancer_mlp",
    "cifar10_augcifar10_resnet18",
    "cifar10_cifar100_resnet9",
    "cifar10_cnn2",
    "cifar10_densenet",
    "cifar10_resnet9",
    "cifar10_resnet9_70",
    "cifar100_resnet9",
    "digits28_mlp",
    "digits28_tiny",
    "digits_cnn",
    "digits_mix_tiny",
    "digits_mlp",
    "digits_photos",
    "digits_pixmix",
    "digits_tiny",
    "docstrings_mlp",
    "fashion_mnist_cnn1",
    "fashion_mnist_mlp",
    "mnist_augmnist_cnn32",
    "mnist_cifar10_cnn64",
    "mnist_cnn1",
    "mnist_cnn32",
    "mnist_mlp",
    "mnist_mlp_small",
    "mnist_svhn_cnn32",
    "mnist_usps_cnn32",
]
