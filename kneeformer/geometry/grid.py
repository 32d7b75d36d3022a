"""Grid of a volume in the patient: spacing, origin, direction and orientation."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from kneeformer.geometry.aliases import Size, Spacing, Vector
from kneeformer.geometry.orientation import ENDS, patient_axes, permuted, turning

# Two headers of one scan written by different programs differ by rounding: this much is the same place.
TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Grid:
    """A regular grid in patient space (LPS millimetres, as ITK has it).

    Attributes:
        shape: voxels along (z, y, x), the order of the array's axes.
        spacing: millimetres between voxels along (z, y, x).
        origin: (x, y, z) of the first voxel's centre.
        direction: 3 x 3 cosines, row by row, columns in the order (x, y, z) of the index. At right angles,
            so that a voxel's volume is the product of the spacings; left-handed ones are allowed.
    """

    shape: Size
    spacing: Spacing
    origin: Vector = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        cosines = np.array(self.direction, dtype=float).reshape(3, 3)
        if not np.abs(cosines.T @ cosines - np.eye(3)).max() < 1e-5:
            raise ValueError(f"axes of length 1 at right angles are needed, not {self.direction}")

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

    def mismatch(self, other: "Grid") -> str | None:
        """Describe the difference to another grid; None where both hold the same voxels of the patient."""
        if self.shape != other.shape:
            return f"size {_text(self.shape)} against {_text(other.shape)} voxels"
        if not np.allclose(self.spacing, other.spacing, rtol=1e-4, atol=1e-5):
            return f"spacing {_text(self.spacing)} against {_text(other.spacing)} mm"
        apart = float(np.abs(self.corners() - other.corners()).max())
        if apart > max(TOLERANCE_MM, 0.01 * min(self.spacing)):
            return f"same size and spacing, but corners {apart:.3g} mm apart (origin or direction differ)"
        return None

    def orientation(self) -> str:
        """Orientation of the array axes (z, y, x), as "SPL": see kneeformer.geometry.orientation.

        Of an oblique grid: along the patient's axes that it lies nearest to.
        """
        cosines = np.array(self.direction).reshape(3, 3)[:, ::-1]  # patient (x, y, z) by array axis (z, y, x)
        axes = max(permutations(range(3)), key=lambda p: sum(abs(cosines[p[a], a]) for a in range(3)))
        return "".join(ENDS[axis][int(cosines[axis, a] > 0)] for a, axis in enumerate(axes))

    def turned(self, orientation: str) -> "Grid":
        """The same voxels as an array of another orientation, as `turn` gives it: no voxel moves."""
        axes, flipped = turning(self.orientation(), orientation)
        steps = np.array(self.direction).reshape(3, 3)[:, ::-1][:, axes] * np.where(flipped, -1.0, 1.0)
        shape, spacing = permuted(self.shape, axes), permuted(self.spacing, axes)
        before = np.where(flipped, np.array(shape) - 1, 0)  # voxels from the new first one to the old
        x, y, z = (np.array(self.origin) - (steps * spacing) @ before).tolist()
        return Grid(shape, spacing, (x, y, z), tuple(steps[:, ::-1].ravel().tolist()))


def along_patient(shape: Size, spacing: Spacing, orientation: str) -> Grid:
    """A grid along the patient's axes, of an orientation as `Grid.orientation` tells it."""
    direction = np.zeros((3, 3))
    for axis, (patient, letter) in enumerate(zip(patient_axes(orientation), orientation, strict=True)):
        direction[patient, 2 - axis] = 1.0 if letter == ENDS[patient][1] else -1.0
    return Grid(shape, spacing, direction=tuple(direction.ravel().tolist()))


def _text(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:g}" for v in values)
