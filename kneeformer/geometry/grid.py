"""Grid of a volume in the patient: spacing, origin, direction and orientation."""

import math
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from kneeformer.geometry.affine import Affine, transformed
from kneeformer.geometry.aliases import Size, Spacing, Vector
from kneeformer.geometry.boxes import Box, box_shape
from kneeformer.geometry.orientation import ENDS, axis_directions, permuted, turning
from kneeformer.geometry.resampling import new_centres

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
        if not all(0 < mm < math.inf for mm in self.spacing):
            raise ValueError(f"spacings above 0 mm are needed, not {self.spacing}")
        if not np.abs(self.cosines.T @ self.cosines - np.eye(3)).max() < 1e-5:
            raise ValueError(f"axes of length 1 at right angles are needed, not {self.direction}")

    @classmethod
    def along_patient(cls, shape: Size, spacing: Spacing, orientation: str) -> "Grid":
        """A grid along the patient's axes, with an orientation as in `Grid.orientation`."""
        direction = axis_directions(orientation)[:, ::-1]
        return cls(shape, spacing, direction=tuple(direction.ravel().tolist()))

    @property
    def cosines(self) -> np.ndarray:
        """(3, 3): `direction` as a matrix, patient (x, y, z) by index (x, y, z)."""
        return np.array(self.direction, np.float64).reshape(3, 3)

    @property
    def steps(self) -> np.ndarray:
        """(3, 3) mm: column i is one step along axis i of the index (x, y, z)."""
        return np.asarray(self.cosines * np.array(self.spacing[::-1]))

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, above zero in left-handed grids too: steps at right angles span a box."""
        return math.prod(self.spacing)

    def to_patient(self) -> Affine:
        """(4, 4) float64: a voxel's index (z, y, x, 1) to patient coordinates (x, y, z, 1) in mm."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.steps[:, ::-1], self.origin
        return matrix

    def to_index(self) -> Affine:
        """(4, 4) float64: patient coordinates (x, y, z, 1) in mm to a fractional index (z, y, x, 1)."""
        return np.asarray(np.linalg.inv(self.to_patient()))

    def voxel_centres(self) -> np.ndarray:
        """(z, y, x, 3) float64 patient coordinates (x, y, z) in mm of every voxel."""
        matrix = self.to_patient()
        z, y, x = (np.arange(n)[:, None] * matrix[:3, axis] for axis, n in enumerate(self.shape))
        return np.asarray(z[:, None, None] + y[:, None] + x + matrix[:3, 3])

    def corners(self) -> np.ndarray:
        """(8, 3) patient coordinates, in mm, of the centres of the corner voxels."""
        index_xyz = np.array(list(product(*((0, n - 1) for n in self.shape[::-1]))))
        return np.asarray(self.origin + (index_xyz * np.array(self.spacing[::-1])) @ self.cosines.T)

    def box_around(self, points: np.ndarray) -> Box:
        """The smallest box of voxels around (n, 3) patient points (x, y, z) in mm, within the grid."""
        index = transformed(points, self.to_index())
        return tuple(
            (max(0, int(np.floor(low))), min(size, int(np.ceil(high)) + 1))
            for low, high, size in zip(index.min(0), index.max(0), self.shape, strict=True)
        )

    def cut(self, box: Box) -> "Grid":
        """The voxels of a box as a grid of their own."""
        first = np.array([start for start, _ in box])
        x, y, z = transformed(first, self.to_patient()).tolist()
        return Grid(box_shape(box), self.spacing, (x, y, z), self.direction)

    def resampled(self, shape: Size) -> "Grid":
        """A grid of another shape with the same outer faces: see kneeformer.geometry.resampling."""
        first = np.array([new_centres(old, new)[0] for old, new in zip(self.shape, shape, strict=True)])
        x, y, z = transformed(first, self.to_patient()).tolist()
        thick, high, wide = (s * o / n for s, o, n in zip(self.spacing, self.shape, shape, strict=True))
        return Grid(shape, (thick, high, wide), (x, y, z), self.direction)

    def mismatch(self, other: "Grid") -> str | None:
        """Describe the difference from another grid; None where both have the same voxels in the patient."""
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

        An oblique grid takes the nearest axes of the patient.
        """
        cosines = self.cosines[:, ::-1]  # patient (x, y, z) by array axis (z, y, x)
        axes = max(permutations(range(3)), key=lambda p: sum(abs(cosines[p[a], a]) for a in range(3)))
        return "".join(ENDS[axis][int(cosines[axis, a] > 0)] for a, axis in enumerate(axes))

    def turned(self, orientation: str) -> "Grid":
        """The grid of the same voxels as an array of another orientation, turned by `turn`."""
        axes, flipped = turning(self.orientation(), orientation)
        steps = self.cosines[:, ::-1][:, axes] * np.where(flipped, -1.0, 1.0)
        shape, spacing = permuted(self.shape, axes), permuted(self.spacing, axes)
        before = np.where(flipped, np.array(shape) - 1, 0)  # voxels from the new first one to the old
        x, y, z = (np.array(self.origin) - (steps * spacing) @ before).tolist()
        return Grid(shape, spacing, (x, y, z), tuple(steps[:, ::-1].ravel().tolist()))


def points_from_middle(shape: Size, spacing: Spacing) -> np.ndarray:
    """(3, z, y, x) float64 mm from the middle of a grid to the centre of each voxel, along its own axes."""
    steps = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*steps, indexing="ij"))


def _text(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:g}" for v in values)
