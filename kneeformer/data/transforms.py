"""Transforms of patient space in ITK's files."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_transform(path: Path, matrix: np.ndarray) -> None:
    """Write an affine transform, (4, 4) float64 on (x, y, z, 1) in LPS mm, as ITK text (.tfm).

    The file appears whole or not at all. 3D Slicer and ITK apply it to points; to move an image they need
    its inverse, as ever.
    """
    transform = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.unfinished.tfm")
    sitk.WriteTransform(transform, str(unfinished))
    unfinished.replace(path)


def read_transform(path: Path) -> np.ndarray:
    """(4, 4) float64 of a file that `write_transform` wrote."""
    transform = sitk.AffineTransform(sitk.ReadTransform(str(path)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = np.array(transform.GetTranslation())
    return matrix
