"""The shape of a parametric knee: bones and cartilages as implicit surfaces with a few dozen parameters.

A surface is a signed distance in millimetres, negative inside, for every point. Anatomical frame: x to the
left, y posterior, z superior (LPS), in mm; the origin lies in the middle of the joint space.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kneeformer.geometry.affine import rotation
from kneeformer.geometry.aliases import Vector

Floats = npt.NDArray[np.float32]
Points = tuple[Floats, Floats, Floats]  # x, y and z in mm, all of one shape
Distances = dict[str, Floats]


@dataclass(frozen=True)
class Anatomy:
    """Anatomy that differs from subject to subject.

    Attributes:
        size: scale of the whole knee.
        width: additional scale of femur and tibia from left to right.
        side: 1.0 for a left knee (lateral is left), -1.0 for a right one.
        cartilage_mm: thickness of femoral, tibial and patellar cartilage.
        patella_mm: shift of the patella, laterally and upwards.
        pose_deg: rotation of the knee in the scanner about x, y and z.
        flexion_deg: rotation of the femur on the tibia about x.
        fat_mm: depth of the fat under the skin.
    """

    size: float
    width: float
    side: float
    cartilage_mm: Vector
    patella_mm: tuple[float, float]
    pose_deg: Vector
    flexion_deg: float
    fat_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Anatomy":
        u = rng.uniform
        return cls(
            size=u(0.92, 1.06),
            width=u(0.93, 1.07),
            side=float(rng.choice([-1.0, 1.0])),
            cartilage_mm=(u(2.6, 3.3), u(2.4, 3.1), u(2.8, 3.6)),
            patella_mm=(u(-2.0, 4.0), u(-4.0, 4.0)),
            pose_deg=(u(-5, 5), u(-4, 4), u(-6, 6)),
            flexion_deg=u(-4, 8),
            fat_mm=u(5, 10),
        )


def knee_surfaces(points: Points, anatomy: Anatomy) -> Distances:
    """Signed distance to each labelled structure; where two overlap, the one listed first wins."""
    femoral_mm, tibial_mm, patellar_mm = anatomy.cartilage_mm
    x, y, z = points
    femur_points = _turn((x / anatomy.width, y, z), (anatomy.flexion_deg, 0.0, 0.0), about=(0.0, 6.0, 20.0))
    femur, femoral = _femur(femur_points, femoral_mm)
    tibia, tibial = _tibia((x / anatomy.width, y, z), tibial_mm)
    patella, patellar = _patella(points, anatomy.patella_mm, patellar_mm)
    return {
        "femur": femur,
        "tibia": tibia,
        "patella": patella,
        "femoral_cartilage": femoral,
        "tibial_cartilage": tibial,
        "patellar_cartilage": patellar,
    }


def _femur(points: Points, cartilage_mm: float) -> tuple[Floats, Floats]:
    """Two condyles, each a posterior and an anterior ellipsoid, under a shaft; and their cartilage."""
    _, y, z = points
    parts = [
        ((23.0, 10.0, 21.0), (13.5, 20.0, 21.0)),
        ((16.0, -9.0, 25.5), (18.0, 21.0, 22.5)),
        ((-22.0, 11.0, 20.5), (14.5, 22.0, 20.5)),
        ((-16.0, -7.0, 25.0), (18.0, 21.0, 22.0)),
    ]
    condyles = [_ellipsoid(points, centre, radii) for centre, radii in parts]
    shaft = _shaft(points, (-3.0, -14.0), (32.0, 21.0), (72.0, 13.5))
    roof_of_the_notch = 25 + 0.45 * y - z
    bone = _smooth_union([*condyles, -_smooth_union([-shaft, -roof_of_the_notch], 8.0)], 4.0)
    # cartilage: the condyles enlarged to the front, back and below, but not to the sides
    swollen = [
        _ellipsoid(points, centre, (a, b + cartilage_mm, c + cartilage_mm)) for centre, (a, b, c) in parts
    ]
    articular = z - (28 - 0.35 * y)
    return bone, np.maximum(_smooth_union(swollen, 4.0), articular).astype(np.float32)


def _tibia(points: Points, cartilage_mm: float) -> tuple[Floats, Floats]:
    """A plateau on a shaft with its tuberosity; and a pad of cartilage under each condyle."""
    top = -5.4
    x, y, z = points
    plateau = _ellipsoid(points, (0.0, 5.0, top - 13.0), (38.0, 26.0, 13.0), flat=True)
    shaft = np.maximum(_shaft(points, (4.0, 25.0), (-18.0, 24.0), (-60.0, 14.0)), z - (top - 8.0))
    tuberosity = _ellipsoid(points, (3.0, -18.0, -36.0), (9.0, 7.0, 14.0))
    bone = _smooth_union([plateau, shaft, tuberosity], 4.0)
    pads = np.minimum(*(np.hypot((x - side * 20) / 15.5, (y - 6) / 20) for side in (-1, 1))) * 15 - 15
    layer = np.maximum(plateau - np.float32(cartilage_mm), top - 4 - z)
    return bone, np.maximum(layer, pads).astype(np.float32)


def _patella(points: Points, shift_mm: tuple[float, float], cartilage_mm: float) -> tuple[Floats, Floats]:
    """A flat ellipsoid in front of the groove; its cartilage is the same shape, shifted backwards."""
    x, y, z = shift_mm[0], -47.5, 33.0 + shift_mm[1]
    bone = _ellipsoid(points, (x, y, z), (21.0, 9.5, 20.0))
    cartilage = _ellipsoid(points, (x, y + cartilage_mm, z + 2.0), (19.0, 9.5, 17.0))
    return bone, cartilage


def _ellipsoid(points: Points, centre: Vector, radii: Vector, flat: bool = False) -> Floats:
    """Distance to an ellipsoid, exact to first order at its surface; `flat` squares it along z."""
    q = [(p - c) / r for p, c, r in zip(points, centre, radii, strict=True)]
    if flat:
        level = np.sqrt(np.sqrt((q[0] ** 2 + q[1] ** 2) ** 2 + q[2] ** 4))
        return np.asarray((level - 1) * min(radii), np.float32)
    level = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    slope = np.sqrt(sum((v / r) ** 2 for v, r in zip(q, radii, strict=True)))
    return np.asarray(level * (level - 1) / np.maximum(slope, 1e-6), np.float32)


def _shaft(
    points: Points, axis_y: tuple[float, float], wide: tuple[float, float], narrow: tuple[float, float]
) -> Floats:
    """Distance to a round bone along z that flares: `wide` and `narrow` are (z, radius) of its two ends.

    Its axis passes through y = axis_y[0] at the wide end and leans back by 1 mm per axis_y[1] mm (forward if
    negative).
    """
    x, y, z = points
    part = np.clip((z - wide[0]) / (narrow[0] - wide[0]), 0, 1)
    radius = narrow[1] + (wide[1] - narrow[1]) * (1 - part) ** 2
    centre = axis_y[0] + np.abs(z - wide[0]) / axis_y[1]
    return np.asarray(np.hypot(x * 0.8, y - centre) - radius, np.float32)


def capsule(points: Points, start: Vector, end: Vector, radius: float, flatness: float = 1.0) -> Floats:
    """Distance to a ligament: a line with a radius, `flatness` times wider along x."""
    axis = np.subtract(end, start) / (flatness, 1, 1)
    rest = [(points[0] - start[0]) / flatness, points[1] - start[1], points[2] - start[2]]
    along = np.clip(sum(r * a for r, a in zip(rest, axis, strict=True)) / float(axis @ axis), 0, 1)
    gap = np.sqrt(sum((r - along * a) ** 2 for r, a in zip(rest, axis, strict=True)))
    return np.asarray(gap - radius, np.float32)


def _smooth_union(parts: list[Floats], rounding_mm: float) -> Floats:
    """Union whose creases are filled with a fillet."""
    joined = parts[0]
    for part in parts[1:]:
        overlap = np.maximum(rounding_mm - np.abs(joined - part), 0) / rounding_mm
        joined = np.minimum(joined, part) - overlap**2 * np.float32(rounding_mm / 4)
    return joined


def to_knee(points: Points, anatomy: Anatomy) -> Points:
    """Points of the scanner in the coordinates of the average left knee."""
    x, y, z = _turn(points, anatomy.pose_deg, about=(0.0, 0.0, 0.0))
    size = np.float32(anatomy.size)
    return x * np.float32(anatomy.side) / size, y / size, z / size


def _turn(points: Points, degrees: Vector, about: Vector) -> Points:
    matrix = rotation(degrees).astype(np.float32)
    moved = [p - np.float32(c) for p, c in zip(points, about, strict=True)]
    x, y, z = (
        row[0] * moved[0] + row[1] * moved[1] + row[2] * moved[2] + np.float32(c)
        for row, c in zip(matrix, about, strict=True)
    )
    return x, y, z
