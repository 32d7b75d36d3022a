"""Where voxels lie in the patient: spacing, origin and direction of a grid."""

from dataclasses import dataclass

import numpy as np

Triple = tuple[float, float, float]

# Two headers of one scan written by different programs differ by rounding: this much is the same place.
TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Geometry:
    """A regular grid in patient space (LPS millimetres, as ITK has it).

    Attributes:
        shape: voxels along (z, y, x), the order of the array's axes.
        spacing: millimetres between voxels along (z, y, x).
        origin: (x, y, z) of the first voxel's centre.
        direction: 3 x 3 cosines, row by row, columns in the order (x, y, z) of the index.
    """

    shape: tuple[int, int, int]
    spacing: Triple
    origin: Triple = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def corners(self) -> np.ndarray:
        """(8, 3) patient coordinates, in mm, of the centres of the corner voxels."""
        bits = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T
        index_xyz = bits * (np.array(self.shape[::-1]) - 1)
        cosines = np.array(self.direction).reshape(3, 3)
        return np.asarray(self.origin + (index_xyz * np.array(self.spacing[::-1])) @ cosines.T)

    def to_patient(self) -> np.ndarray:
        """(4, 4) float64: a voxel's index (z, y, x, 1) to patient coordinates (x, y, z, 1) in mm."""
        steps = np.array(self.direction).reshape(3, 3) * np.array(self.spacing[::-1])  # columns x, y, z
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = steps[:, ::-1], self.origin
        return matrix

    def mismatch(self, other: "Geometry") -> str | None:
        """What differs from another grid, in words, or None where they are the same place."""
        if self.shape != other.shape:
            return f"size {_text(self.shape)} against {_text(other.shape)} voxels"
        if not np.allclose(self.spacing, other.spacing, rtol=1e-4, atol=1e-5):
            return f"spacing {_text(self.spacing)} against {_text(other.spacing)} mm"
        apart = float(np.abs(self.corners() - other.corners()).max())
        if apart > max(TOLERANCE_MM, 0.01 * min(self.spacing)):
            return f"same size and spacing, but corners {apart:.3g} mm apart (origin or direction differ)"
        return None

    def left_right_axis(self) -> int:
        """The array axis (0, 1 or 2) that runs closest to the patient's left-right."""
        cosines = np.abs(np.array(self.direction).reshape(3, 3))
        return 2 - int(np.argmax(cosines[0]))


def _text(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:g}" for v in values)
