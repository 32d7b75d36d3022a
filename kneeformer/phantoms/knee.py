"""A synthetic scan of a parametric knee: sagittal fat-saturated MRI, its label map, datasets of them.

A subject is a draw of sizes and poses (`knee_shape.Anatomy`); an image paints tissues onto the distances
from its surfaces and acquires them in thick slices, with a bias field and Rician noise. In the file, slices
run from the patient's left to the right (axis 0), rows downwards (axis 1) and columns backwards (axis 2).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kneeformer.data.files import write_json
from kneeformer.data.images import write_image
from kneeformer.geometry.affine import rotation
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.grid import Grid, points_from_middle
from kneeformer.phantoms.knee_shape import Anatomy, Distances, Floats, Points, capsule, knee_surfaces, to_knee

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
CENTRE_MM = (0.0, -5.0, 7.0)  # centre of the field of view, in the anatomical frame
FINE_SLICES = 3  # rendered for each acquired slice


def make_knee(
    rng: np.random.Generator, shape: Size = SHAPE, spacing_mm: Spacing = SPACING_MM
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
    points = to_knee(_scanner_points(fine_shape, fine_spacing), anatomy)
    distances = knee_surfaces(points, anatomy)
    labels = _label(distances)
    texture = [_smooth_noise(rng, fine_shape, mm, fine_spacing) for mm in (12.0, 1.5)]
    image = _paint(points, distances, anatomy, (texture[0], texture[1]), rng)
    image *= np.exp(rng.uniform(0.1, 0.25) * _smooth_noise(rng, fine_shape, 60.0, fine_spacing))
    return _acquire(image, rng), _majority(labels)


def oblique_sagittal(rng: np.random.Generator, shape: Size = SHAPE, spacing_mm: Spacing = SPACING_MM) -> Grid:
    """A sagittal grid, tilted by up to six degrees about each axis, somewhere in the scanner."""
    sagittal = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # columns: x, y, z index
    a, b, c = rng.uniform(-6, 6, 3)
    cosines = rotation((a, b, c)) @ sagittal
    x, y, z = (float(v) for v in rng.uniform(-80, 80, 3))
    return Grid(shape, spacing_mm, (x, y, z), tuple(cosines.ravel().tolist()))


def write_phantom_dataset(
    folder: Path,
    cases: int,
    seed: int,
    *,
    unlabelled: int = 0,
    test: int = 2,
    shape: Size = SHAPE,
    spacing_mm: Spacing = SPACING_MM,
    progress: Callable[[str], None] = lambda case: None,
) -> None:
    """Write a raw dataset of NRRD files: imagesTr, labelsTr, imagesUn, imagesTs, dataset.json.

    labelsTs holds the truth of the test cases, for evaluation. Every case has a random stream of its
    own: more cases leave the first ones as they were. `progress` is called with the name of each case.
    """
    parts = [("Tr", cases, True), ("Ts", test, True), ("Un", unlabelled, False)]
    numbers = iter(range(1, cases + test + unlabelled + 1))
    for stream, (part, count, labelled) in enumerate(parts):
        for k in range(count):
            rng = np.random.default_rng([seed, stream, k])
            name = f"phantom_{next(numbers):02d}"
            image, labels = make_knee(rng, shape, spacing_mm)
            grid = oblique_sagittal(rng, shape, spacing_mm)
            write_image(folder / f"images{part}" / f"{name}_0000.nrrd", image, grid)
            if labelled:
                write_image(folder / f"labels{part}" / f"{name}.nrrd", labels, grid)
            progress(name)
    description = {
        "channel_names": {"0": "PDFS"},
        "labels": LABELS,
        "numTraining": cases,
        "file_ending": ".nrrd",
    }
    write_json(folder / "dataset.json", description)


# ---- surfaces: signed distances in mm, negative inside


# ---- points


def _scanner_points(shape: Size, spacing_mm: Spacing) -> Points:
    """Voxel centres of the grid in the anatomical frame, before the knee is posed."""
    left, down, back = points_from_middle(shape, spacing_mm)
    cx, cy, cz = CENTRE_MM
    return (cx - left).astype(np.float32), (back + cy).astype(np.float32), (cz - down).astype(np.float32)


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
    fibula = capsule(points, (34.0, 22.0, -22.0), (30.0, 20.0, -90.0), 7.0)
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
        image[capsule(points, start, end, radius, flatness) < 0] = signal


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], length_mm: float, spacing_mm: Spacing
) -> Floats:
    """(z, y, x) float32 random field, mean 0 and deviation 1, that varies over `length_mm`."""
    coarse = [max(2, round(n * s / length_mm) + 1) for n, s in zip(shape, spacing_mm, strict=True)]
    field = rng.standard_normal(coarse).astype(np.float32)
    zoom = [n / c for n, c in zip(shape, coarse, strict=True)]
    field = ndimage.zoom(field, zoom, order=1)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


# ---- the scan


def _acquire(image: Floats, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Average the fine slices, blur in plane, add Rician noise, and apply the scanner's scale."""
    slices = image.reshape(-1, FINE_SLICES, *image.shape[1:]).mean(axis=1)
    slices = ndimage.gaussian_filter(slices, (0, 0.45, 0.45))
    sigma = rng.uniform(0.015, 0.04)
    real, imaginary = (sigma * rng.standard_normal(slices.shape, np.float32) for _ in range(2))
    return np.asarray(np.hypot(slices + real, imaginary) * rng.uniform(400, 1600)).astype(np.int16)


def _majority(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The most frequent label among the fine slices of each slice; of equally frequent ones the lowest."""
    votes = labels.reshape(-1, FINE_SLICES, *labels.shape[1:])
    counts = np.stack([(votes == value).sum(axis=1, dtype=np.uint8) for value in LABELS.values()])
    return np.asarray(counts.argmax(axis=0), np.uint8)
