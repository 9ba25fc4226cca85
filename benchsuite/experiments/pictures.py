"""Images of a pool as pictures that a page can show."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pictures(images: NDArray[Any]) -> NDArray[Any] | None:
    """Images as [n, height, width] or [n, height, width, 3], or None where they are no pictures."""
    if images.dtype == np.uint8:
        return images
    if images.ndim == 4 and images.shape[1] in (1, 3):
        channels_last = np.moveaxis(images, 1, -1)
        return channels_last[..., 0] if images.shape[1] == 1 else channels_last
    return None
