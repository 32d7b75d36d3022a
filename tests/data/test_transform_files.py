"""Transforms are kept to the last digit that matters, and are to ITK what they are to us."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from kneeformer.data.transform_files import write_transform
from kneeformer.geometry.affine import rotation


def similarity() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = 0.937 * rotation((12.3, -40, 7)) @ np.diag([-1, 1, 1])  # a mirrored bone
    matrix[:3, 3] = (-1234.56789, 1 / 3, 88.123456789)
    return matrix


def read(file: Path) -> np.ndarray:
    """(4, 4), as ITK reads it."""
    transform = sitk.AffineTransform(sitk.ReadTransform(str(file)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.GetTranslation()
    return matrix


def test_there_and_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "knee.v2.tfm"
    write_transform(file, similarity())
    assert np.abs(read(file) - similarity()).max() < 1e-9
    assert [p.name for p in file.parent.iterdir()] == ["knee.v2.tfm"]
    write_transform(file, np.eye(4))
    assert np.array_equal(read(file), np.eye(4))


def test_itk_carries_points_as_the_matrix_does(tmp_path: Path) -> None:
    write_transform(tmp_path / "a.tfm", similarity())
    transform = sitk.ReadTransform(str(tmp_path / "a.tfm"))
    for point in ((0.0, 0.0, 0.0), (-71.2, 33.4, 812.0)):
        assert np.allclose(transform.TransformPoint(point), (similarity() @ [*point, 1])[:3], atol=1e-9)
