"""Label maps: whole numbers, in whatever type a file stores them."""

from pathlib import Path

import numpy as np

from kneeformer.data.formats.base import Image
from kneeformer.data.images import read_image

# Scaling in float32 (scl_slope of NIfTI) leaves 0.9999999 for 1; interpolation leaves any fraction.
WHOLE_WITHIN = 1e-3


def read_label_map(path: Path) -> Image:
    """As `read_image`, with the array as from `as_label_map`."""
    image = read_image(path)
    return Image(as_label_map(image.array), image.grid)


def as_label_map(array: np.ndarray) -> np.ndarray:
    """Return the same values, of any shape, as uint8, int16 or int32, the first that holds them all.

    Floats within 1e-3 of whole numbers are rounded. An array that holds anything else, or numbers beyond
    int32, is returned as it is.
    """
    if not_whole(array):
        return array
    whole = np.rint(array) if array.dtype.kind == "f" else array
    low, high = whole.min(), whole.max()
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.asarray(whole.astype(dtype, copy=False))
    return array


def not_whole(array: np.ndarray) -> int:
    """Number of voxels that are not whole numbers: further than 1e-3 from one, or not finite."""
    if array.dtype.kind != "f":
        return 0
    with np.errstate(invalid="ignore"):
        return array.size - int(np.count_nonzero(np.abs(array - np.rint(array)) <= WHOLE_WITHIN))
