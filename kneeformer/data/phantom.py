"""A parametric knee: sagittal fat-saturated MRI and its label map, out of a few dozen numbers.

The bones and cartilages are implicit surfaces: a signed distance in millimetres, negative inside, for
every point. A subject is a draw of sizes and poses (`Anatomy`); an image paints tissues onto the
distances and acquires them in thick slices, with a bias field and Rician noise.

Anatomical frame: x to the left, y posterior, z superior (LPS), in mm; the origin lies in the middle of
the joint space. In the file, slices run from the patient's left to the right (axis 0), rows downwards
(axis 1) and columns backwards (axis 2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kneeformer.data.files import write_json
from kneeformer.data.geometry import Geometry, Triple
from kneeformer.data.images import write_image

LABELS = {
    "background": 0,
    "femur": 1,
    "femoral_cartilage": 2,
    "tibia": 3,
    "tibial_cartilage": 4,
    "patella": 5,
    "patellar_cartilage": 6,
}

SHAPE = (24, 96, 96)
SPACING_MM = (3.5, 1.25, 1.25)
CENTRE_MM = (0.0, -5.0, 7.0)  # of the field of view, in the anatomical frame
FINE_SLICES = 3  # rendered for each slice acquired

Floats = npt.NDArray[np.float32]
Points = tuple[Floats, Floats, Floats]  # x, y and z in mm, all of one shape
Distances = dict[str, Floats]


@dataclass(frozen=True)
class Anatomy:
    """What differs from subject to subject.

    Attributes:
        size: scale of everything.
        width: further scale of femur and tibia from left to right.
        side: 1.0 a left knee (lateral is left), -1.0 a right one.
        cartilage_mm: thickness of femoral, tibial and patellar cartilage.
        patella_mm: shift of the patella to lateral and upwards.
        pose_deg: rotation of the knee in the scanner about x, y and z.
        flexion_deg: rotation of the femur on the tibia about x.
        fat_mm: depth of the fat under the skin.
    """

    size: float
    width: float
    side: float
    cartilage_mm: Triple
    patella_mm: tuple[float, float]
    pose_deg: Triple
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


def make_knee(
    rng: np.random.Generator, shape: tuple[int, int, int] = SHAPE, spacing_mm: Triple = SPACING_MM
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Draw a subject and scan the knee.

    Args:
        rng: source of everything random: equal states give equal knees.
        shape: voxels along (z, y, x): left-right, top-down, front-back.
        spacing_mm: their spacing along the same axes.

    Returns:
        image: (z, y, x) int16, scanner units (positive, of no fixed scale).
        labels: (z, y, x) uint8, values of LABELS.
    """
    anatomy = Anatomy.draw(rng)
    fine_shape = (shape[0] * FINE_SLICES, shape[1], shape[2])
    fine_spacing = (spacing_mm[0] / FINE_SLICES, spacing_mm[1], spacing_mm[2])
    points = _to_knee(_scanner_points(fine_shape, fine_spacing), anatomy)
    distances = knee_surfaces(points, anatomy)
    labels = _label(distances)
    texture = [_smooth_noise(rng, fine_shape, mm, fine_spacing) for mm in (12.0, 1.5)]
    image = _paint(points, distances, anatomy, (texture[0], texture[1]), rng)
    image *= np.exp(rng.uniform(0.1, 0.25) * _smooth_noise(rng, fine_shape, 60.0, fine_spacing))
    return _acquire(image, rng), _majority(labels)


def oblique_sagittal(
    rng: np.random.Generator, shape: tuple[int, int, int] = SHAPE, spacing_mm: Triple = SPACING_MM
) -> Geometry:
    """A sagittal grid, tilted by up to six degrees about each axis, somewhere in the scanner."""
    sagittal = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # columns: x, y, z index
    a, b, c = rng.uniform(-6, 6, 3)
    cosines = _rotation((a, b, c)) @ sagittal
    x, y, z = (float(v) for v in rng.uniform(-80, 80, 3))
    return Geometry(shape, spacing_mm, (x, y, z), tuple(cosines.ravel().tolist()))


def write_phantom_dataset(
    folder: Path,
    cases: int,
    seed: int,
    *,
    unlabelled: int = 0,
    test: int = 2,
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: Triple = SPACING_MM,
    progress: Callable[[str], None] = lambda case: None,
) -> None:
    """Write a raw dataset of NRRD files: imagesTr, labelsTr, imagesUn, imagesTs, dataset.json.

    labelsTs holds the truth of the test cases, to evaluate against. Every case has a random stream of its
    own: more cases leave the first ones as they were. `progress` is called with the name of each case.
    """
    parts = [("Tr", cases, True), ("Ts", test, True), ("Un", unlabelled, False)]
    numbers = iter(range(1, cases + test + unlabelled + 1))
    for stream, (part, count, labelled) in enumerate(parts):
        for k in range(count):
            rng = np.random.default_rng([seed, stream, k])
            name = f"phantom_{next(numbers):02d}"
            image, labels = make_knee(rng, shape, spacing_mm)
            geometry = oblique_sagittal(rng, shape, spacing_mm)
            write_image(folder / f"images{part}" / f"{name}_0000.nrrd", image, geometry)
            if labelled:
                write_image(folder / f"labels{part}" / f"{name}.nrrd", labels, geometry)
            progress(name)
    description = {
        "channel_names": {"0": "PDFS"},
        "labels": LABELS,
        "numTraining": cases,
        "file_ending": ".nrrd",
    }
    write_json(folder / "dataset.json", description)


# ---- surfaces: signed distances in mm, negative inside


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
    # swollen to front, back and below, but not to the sides, the condyles stand out as their cartilage
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
    """A flat ellipsoid in front of the groove; its cartilage is itself, shifted backwards."""
    x, y, z = shift_mm[0], -47.5, 33.0 + shift_mm[1]
    bone = _ellipsoid(points, (x, y, z), (21.0, 9.5, 20.0))
    cartilage = _ellipsoid(points, (x, y + cartilage_mm, z + 2.0), (19.0, 9.5, 17.0))
    return bone, cartilage


def _ellipsoid(points: Points, centre: Triple, radii: Triple, flat: bool = False) -> Floats:
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

    Its axis passes y = axis_y[0] where it is wide, and leans back by 1 mm in axis_y[1] (or forward, below 0).
    """
    x, y, z = points
    part = np.clip((z - wide[0]) / (narrow[0] - wide[0]), 0, 1)
    radius = narrow[1] + (wide[1] - narrow[1]) * (1 - part) ** 2
    centre = axis_y[0] + np.abs(z - wide[0]) / axis_y[1]
    return np.asarray(np.hypot(x * 0.8, y - centre) - radius, np.float32)


def _capsule(points: Points, start: Triple, end: Triple, radius: float, flatness: float = 1.0) -> Floats:
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


# ---- points


def _scanner_points(shape: tuple[int, int, int], spacing_mm: Triple) -> Points:
    """Voxel centres of the grid in the anatomical frame, before the knee is posed."""
    steps = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    left, down, back = np.meshgrid(*steps, indexing="ij")
    cx, cy, cz = CENTRE_MM
    return (cx - left).astype(np.float32), (back + cy).astype(np.float32), (cz - down).astype(np.float32)


def _to_knee(points: Points, anatomy: Anatomy) -> Points:
    """Scanner points as coordinates of the average left knee."""
    x, y, z = _turn(points, anatomy.pose_deg, about=(0.0, 0.0, 0.0))
    size = np.float32(anatomy.size)
    return x * np.float32(anatomy.side) / size, y / size, z / size


def _turn(points: Points, degrees: Triple, about: Triple) -> Points:
    matrix = _rotation(degrees).astype(np.float32)
    moved = [p - np.float32(c) for p, c in zip(points, about, strict=True)]
    x, y, z = (
        row[0] * moved[0] + row[1] * moved[1] + row[2] * moved[2] + np.float32(c)
        for row, c in zip(matrix, about, strict=True)
    )
    return x, y, z


def _rotation(degrees: Triple) -> npt.NDArray[np.float64]:
    """(3, 3) rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i] = np.sin(angle)
        turn[i, j] = -turn[j, i]
        matrix = turn @ matrix
    return matrix


# ---- tissues


def _label(distances: Distances) -> npt.NDArray[np.uint8]:
    labels = np.zeros(distances["femur"].shape, np.uint8)
    for name, distance in reversed(distances.items()):
        labels[distance < 0] = LABELS[name]
    return labels


def _paint(
    points: Points,
    distances: Distances,
    anatomy: Anatomy,
    texture: tuple[Floats, Floats],
    rng: np.random.Generator,
) -> Floats:
    """(z, y, x) float32 signal of a proton-density scan with fat saturation; joint fluid is near 1.

    `texture` holds a coarse and a fine random field: borders of soft tissues, and grain.
    """
    u = rng.uniform
    coarse, fine = texture
    image = _soft_tissue(points, anatomy, coarse, rng)
    cartilage = np.minimum.reduce([d for name, d in distances.items() if name.endswith("cartilage")])
    image[(cartilage < u(0.5, 2.0)) & (coarse > u(-0.5, 0.8)) & (np.abs(points[0]) < 31)] = u(0.85, 1.05)
    _draw_ligaments(image, points, u(0.03, 0.09))
    image[cartilage < 0] = u(0.5, 0.7)
    marrow, cortex = u(0.14, 0.24), u(0.02, 0.06)
    fibula = _capsule(points, (34.0, 22.0, -22.0), (30.0, 20.0, -90.0), 7.0)
    for bone in (fibula, *(distances[name] for name in ("femur", "tibia", "patella"))):
        image[bone < 0] = cortex
        image[bone < -1.3] = marrow
    return np.asarray(image * (1 + 0.07 * fine + 0.08 * coarse), np.float32)


def _soft_tissue(points: Points, anatomy: Anatomy, coarse: Floats, rng: np.random.Generator) -> Floats:
    """Air, skin, fat, muscle and vessels, before anything of the joint is drawn."""
    x, y, z = points
    u = rng.uniform
    front = -3 - 5 * np.exp(-(((z - 30) / 28) ** 2))
    depth = 57 - np.hypot(x * 0.95, y - front)
    image = np.where(depth > 0, np.float32(u(0.09, 0.15)), np.float32(0))
    behind = (y > 25 + 3 * coarse) & (np.hypot(x, y - 38) > 9 + 2 * coarse)
    above = (z > 44 + 4 * coarse) & (y > -36 + 2 * coarse)
    image[(depth > anatomy.fat_mm + coarse) & (behind | above)] = u(0.28, 0.38)
    for centre, radius in ((-2.0, 3.2), (4.0, 2.4)):
        image[np.hypot(x - centre + 0.1 * z, y - 37 - coarse + 0.06 * z) < radius] = u(0.5, 0.8)
    image[(depth > 0) & (depth < 1.5)] = u(0.3, 0.45)
    return np.asarray(image, np.float32)


def _draw_ligaments(image: Floats, points: Points, signal: float) -> None:
    """Menisci, cruciate ligaments, patellar and quadriceps tendon: all dark. Changes `image`."""
    x, y, z = points
    for side in (-1.0, 1.0):
        rim = np.hypot((x - side * 21) / 16, (y - 6) / 22)
        image[(rim > 0.55) & (rim < 1.1) & (z > -6) & (z < -4.5 + 14 * (rim - 0.55))] = signal
    cords = [
        ((6.0, 16.0, 20.0), (-2.0, -8.0, -5.0), 3.5, 1.0),
        ((-5.0, 2.0, 16.0), (0.0, 26.0, -10.0), 4.5, 1.0),
        ((0.0, -49.0, 18.0), (3.0, -25.0, -36.0), 2.5, 4.0),
        ((0.0, -48.0, 48.0), (0.0, -36.0, 100.0), 3.0, 5.0),
    ]
    for start, end, radius, flatness in cords:
        image[_capsule(points, start, end, radius, flatness) < 0] = signal


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], length_mm: float, spacing_mm: Triple
) -> Floats:
    """(z, y, x) float32 random field, mean 0 and deviation 1, that varies over `length_mm`."""
    coarse = [max(2, round(n * s / length_mm) + 1) for n, s in zip(shape, spacing_mm, strict=True)]
    field = rng.standard_normal(coarse).astype(np.float32)
    zoom = [n / c for n, c in zip(shape, coarse, strict=True)]
    field = ndimage.zoom(field, zoom, order=1)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


# ---- the scan


def _acquire(image: Floats, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Average the fine slices, blur in plane, add Rician noise and the scanner's scale."""
    slices = image.reshape(-1, FINE_SLICES, *image.shape[1:]).mean(axis=1)
    slices = ndimage.gaussian_filter(slices, (0, 0.45, 0.45))
    sigma = rng.uniform(0.015, 0.04)
    real, imaginary = (sigma * rng.standard_normal(slices.shape, np.float32) for _ in range(2))
    return np.asarray(np.hypot(slices + real, imaginary) * rng.uniform(400, 1600)).astype(np.int16)


def _majority(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The label most frequent among the fine slices of each slice; the lowest of equals."""
    votes = labels.reshape(-1, FINE_SLICES, *labels.shape[1:])
    counts = np.stack([(votes == value).sum(axis=1, dtype=np.uint8) for value in LABELS.values()])
    return np.asarray(counts.argmax(axis=0), np.uint8)
