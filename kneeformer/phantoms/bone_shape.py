"""The shape of a parametric proximal tibia, its pose in the patient, and its fractures.

The surface is a signed distance in millimetres, negative inside, for every point. Bone frame: x to the left,
y posterior, z superior (LPS), in mm; the origin lies in the middle of the bone's height, near the axis of its
shaft. A pose carries the bone frame into the patient.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kneeformer.geometry.affine import Affine, rotation
from kneeformer.geometry.aliases import Vector
from kneeformer.geometry.grid import Grid

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BLOCK = 1 << 13  # points computed at once, so that they stay in the processor's cache
STEP_MM = 0.05  # step of the finite difference for the slope of the surface function
SLOPES = (0.4, 2.5)  # span of the slope at the surface; only creases far from it exceed it
FRAGMENT = 0.65  # size of a fragment's ellipsoid, relative to the region in which it moves


@dataclass(frozen=True)
class BoneAnatomy:
    """Anatomy that differs from bone to bone. Signs are those of a right bone, whose medial side is +x.

    Attributes:
        left: the same bone mirrored in x.
        height_mm: from the flat distal cut to the plateau.
        shaft_mm: radius of the shaft at the cut.
        plateau_mm: half-widths of the plateau along x and y.
        asymmetry: size of the medial condyle relative to the lateral one.
        flare_mm: depth under the plateau where half of the widening is done.
        slope_degrees: slope of the plateau backwards and medially.
        concavity_mm: depth of the hollow of the medial and of the lateral plateau.
        eminence_mm: height of the spines between them.
        tuberosity_mm: height of the tuberosity over the front of the bone.
        torsion_degrees: rotation of the plateau relative to the cut, about z.
    """

    left: bool
    height_mm: float
    shaft_mm: float
    plateau_mm: tuple[float, float]
    asymmetry: float
    flare_mm: float
    slope_degrees: tuple[float, float]
    concavity_mm: tuple[float, float]
    eminence_mm: float
    tuberosity_mm: float
    torsion_degrees: float

    @classmethod
    def draw(cls, rng: np.random.Generator, left: bool = False) -> "BoneAnatomy":
        u = rng.uniform
        return cls(
            left=left,
            height_mm=u(80, 100),
            shaft_mm=u(12, 14),
            plateau_mm=(u(35, 41), u(23, 27)),
            asymmetry=u(1.04, 1.18),
            flare_mm=u(24, 29),
            slope_degrees=(u(3, 10), u(1, 4)),
            concavity_mm=(u(1.5, 3.0), u(0.0, 1.5)),
            eminence_mm=u(5, 8),
            tuberosity_mm=u(5, 9),
            torsion_degrees=u(-8, 8),
        )

    def signed_distance(self, points_mm: Floats) -> Floats:
        """Distance to the surface, exact to first order there and rougher away from it.

        Args:
            points_mm: (..., 3) x, y and z in the bone frame.

        Returns:
            (...) mm, negative inside.
        """
        flat = np.asarray(points_mm, np.float64).reshape(-1, 3)
        blocks = np.array_split(flat, len(flat) // BLOCK + 1)
        return np.concatenate([self._distance(block) for block in blocks]).reshape(points_mm.shape[:-1])

    def _distance(self, points_mm: Floats) -> Floats:
        """The distance of (n, 3) points."""
        x, y, z = np.ascontiguousarray(points_mm.T)
        x = -x if self.left else x
        level = self._level(x, y, z)
        beside = [(STEP_MM, 0.0, 0.0), (0.0, STEP_MM, 0.0), (0.0, 0.0, STEP_MM)]
        rise = [self._level(x + dx, y + dy, z + dz) - level for dx, dy, dz in beside]
        slope = np.sqrt(sum(r**2 for r in rise)) / STEP_MM
        return np.asarray(np.maximum(level / np.clip(slope, *SLOPES), -z - self.height_mm / 2))

    def _level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """A smooth function, negative in the bone, 0 on its surface; the shaft continues below the cut."""
        depth = self.height_mm / 2 - z
        turn = np.deg2rad(self.torsion_degrees) * (0.5 - depth / self.height_mm)
        cos, sin = np.cos(turn), np.sin(turn)
        x, y = cos * x + sin * y, cos * y - sin * x
        return -_smooth_union(-self._body(x, y, depth), -self._above(x, y, depth), 6.0)

    def _body(self, x: Floats, y: Floats, depth: Floats) -> Floats:
        """Two condyles that taper into one shaft, the bone between them in front, and the tuberosity."""
        width, length = self.plateau_mm
        wide = 1 / (1 + (np.maximum(depth, 0) / self.flare_mm) ** 2.6)
        y_axis = 8 * wide - 3
        parts = []
        for side, size in ((1, self.asymmetry**0.5), (-1, self.asymmetry**-0.5)):
            across = self.shaft_mm + (0.54 * width * size - self.shaft_mm) * wide
            along = 1.1 * self.shaft_mm + (length * size - 1.1 * self.shaft_mm) * wide
            x_axis = side * (1 - 0.54 * size) * width * wide
            parts.append(_round([x - x_axis, y - y_axis], [across, along]))
        parts.append(_round([x, y + 6, depth - 16], [0.52 * width, 0.62 * length, 24]))
        front = -3 - 1.1 * self.shaft_mm - self.tuberosity_mm + 7
        parts.append(_round([x + 2, y - front, depth - 42], [9, 7, 16]))
        body = _smooth_union(parts[0], parts[1], 5.0)
        for part in parts[2:]:
            body = _smooth_union(body, part, 6.0)
        return body

    def _above(self, x: Floats, y: Floats, depth: Floats) -> Floats:
        """Height over the articular surface: two hollows with the eminence between them."""
        width, length = self.plateau_mm
        backwards, inwards = np.tan(np.deg2rad(self.slope_degrees))
        hollows = -backwards * (y - 5) - inwards * x
        for side, hollow_mm in zip((1, -1), self.concavity_mm, strict=True):
            hollows = hollows - hollow_mm * _hill(x - side * 0.5 * width, y - 6, 0.25 * width, 0.45 * length)
            hollows = hollows + self.eminence_mm * _hill(x - side * 4.5, y - 5 + side, 3.2, 6.5)
        return np.asarray(-depth - hollows)

    def coarse_points(self, spacing_mm: float) -> Floats:
        """(n, 3) points of a grid in the bone frame, those in the bone or within one spacing of it."""
        half = (self.plateau_mm[0] + 8, self.plateau_mm[1] + 20, self.height_mm / 2 + 14)
        steps = [np.arange(-h, h + spacing_mm, spacing_mm) for h in half]
        grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
        return np.asarray(grid[self.signed_distance(grid) < spacing_mm])


def _round(offsets: list[Floats], radii: list[Floats | float]) -> Floats:
    """Distance to an ellipse or ellipsoid, exact to first order at its surface."""
    q = [offset / radius for offset, radius in zip(offsets, radii, strict=True)]
    level = np.sqrt(sum(v**2 for v in q))
    slope = np.sqrt(sum((v / radius) ** 2 for v, radius in zip(q, radii, strict=True)))
    return np.asarray(level * (level - 1) / np.maximum(slope, 1e-9))


def _hill(x: Floats, y: Floats, x_mm: float, y_mm: float) -> Floats:
    return np.asarray(np.exp(-0.5 * ((x / x_mm) ** 2 + (y / y_mm) ** 2)))


def _smooth_union(a: Floats, b: Floats, rounding_mm: float) -> Floats:
    """Union whose crease is filled with a fillet."""
    overlap = np.maximum(rounding_mm - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - overlap**2 / (4 * rounding_mm))


# ---- poses


def draw_pose(rng: np.random.Generator) -> Affine:
    """(4, 4) from the bone frame to the patient (LPS), both in mm: a rotation by up to 15 degrees about
    each axis, an isotropic scale of 0.9 to 1.1, and a shift."""
    a, b, c = rng.uniform(-15, 15, 3)
    pose = np.eye(4)
    pose[:3, :3] = rotation((a, b, c)) * rng.uniform(0.9, 1.1)
    pose[:3, 3] = rng.uniform(-80, 80, 3)
    return pose


def scale_of(pose: Affine) -> float:
    """Return the scale of a pose."""
    return float(np.cbrt(np.linalg.det(pose[:3, :3])))


# ---- fractures


@dataclass(frozen=True)
class Fracture:
    """A fragment that broke out of a bone and moved within a region; all in patient coordinates (LPS, mm).

    Attributes:
        centre_mm: centre of the region, an ellipsoid, and of the smaller ellipsoid of the fragment.
        radii_mm: of the region, along x, y and z.
        turn_degrees: the fragment's rotation about the centre.
        shift_mm: its displacement.
    """

    centre_mm: Vector
    radii_mm: Vector
    turn_degrees: Vector
    shift_mm: Vector

    @classmethod
    def draw(cls, mask: npt.NDArray[np.uint8], grid: Grid, rng: np.random.Generator) -> "Fracture":
        """Break a fragment out of the upper half of the surface of the bone in `mask` (z, y, x).

        It moves by half to all of the distance that the region allows.

        Raises:
            ValueError: the mask is empty.
        """
        centre = rng.choice(_upper_surface(mask, grid))
        radii = rng.uniform(14, 26, 3)
        turn = rng.uniform(-8, 8, 3)
        stretch = rotation(_triple(turn)) * radii / radii[:, None]  # the turn, in units of the radii
        room = 1 - FRAGMENT * np.linalg.norm(stretch, 2)
        towards = rng.standard_normal(3)
        shift = radii * towards / np.linalg.norm(towards) * room * rng.uniform(0.5, 1)
        return cls(_triple(centre), _triple(radii), _triple(turn), _triple(shift))

    def region(self, points_mm: Floats) -> Mask:
        """(...) bool of (..., 3) points, True in the region: the fragment, before and after, lies in it."""
        return self._reach(points_mm) < 1

    def fragment(self, points_mm: Floats) -> Mask:
        """(...) bool of (..., 3) points of the healthy bone, True in the fragment."""
        return self._reach(points_mm) < FRAGMENT

    def before(self, points_mm: Floats) -> Floats:
        """(..., 3) positions in the healthy bone of points of the moved fragment."""
        moved = points_mm - np.add(self.centre_mm, self.shift_mm)
        return np.asarray(moved @ rotation(self.turn_degrees) + self.centre_mm)

    def _reach(self, points_mm: Floats) -> Floats:
        return np.asarray(np.linalg.norm((points_mm - self.centre_mm) / self.radii_mm, axis=-1))


def _upper_surface(mask: npt.NDArray[np.uint8], grid: Grid) -> Floats:
    """(n, 3) patient coordinates of the surface voxels above the median height of the bone's voxels."""
    bone = mask > 0
    if not bone.any():
        raise ValueError("no bone in the mask")
    centres = grid.voxel_centres()
    surface = centres[bone & ~ndimage.binary_erosion(bone)]
    return np.asarray(surface[surface[:, 2] >= np.median(centres[bone][:, 2])])


def _triple(values: npt.NDArray[np.float64]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z
