"""Transforms of patient space in ITK's files."""

from pathlib import Path

import numpy as np

from kneeformer.data.files import write_text


def write_transform(path: Path, matrix: np.ndarray) -> None:
    """Write an affine transform, (4, 4) float64 on (x, y, z, 1) in LPS mm, as ITK text (.tfm).

    The file appears whole or not at all. 3D Slicer and ITK apply it to points; to move an image they need
    its inverse, as usual.
    """
    numbers = [*matrix[:3, :3].ravel().tolist(), *matrix[:3, 3].tolist()]
    lines = (  # ITK's own writer does not report a full disk
        "#Insight Transform File V1.0",
        "#Transform 0",
        "Transform: AffineTransform_double_3_3",
        f"Parameters: {' '.join(map(repr, numbers))}",
        "FixedParameters: 0 0 0",
    )
    write_text(path, "\n".join(lines) + "\n")
