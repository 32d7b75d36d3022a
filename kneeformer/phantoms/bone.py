"""A synthetic CT of a parametric proximal tibia in a known pose, and datasets of such CTs for completion.

A case is a draw of sizes (`bone_shape.BoneAnatomy`), a pose and a tilted axial grid. Test cases are broken: a
fragment has moved. The dataset holds the scan of the same bone before the fracture too.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kneeformer.data.files import write_json
from kneeformer.data.images import write_image
from kneeformer.geometry.affine import Affine, rotation, transformed
from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, KEEP
from kneeformer.phantoms.bone_shape import BoneAnatomy, Floats, Fracture, draw_pose, scale_of

LABELS = {"background": 0, "tibia": 1}

SPACING_MM = (1.2, 1.2, 1.2)
MARGIN_MM = 12.0  # between the bone and the border of the field of view
AIR_HU = -1000.0

Scan = tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]


def scan_bone(
    anatomy: BoneAnatomy,
    pose: Affine,
    grid: Grid,
    rng: np.random.Generator,
    fracture: Fracture | None = None,
) -> Scan:
    """Scan a bone, broken if a fracture is given, at the exact positions of the voxels' centres.

    Args:
        anatomy: the bone.
        pose: (4, 4) from the bone frame to the patient, in mm.
        grid: any grid, oblique or not.
        rng: source of tissue values, texture and noise: equal states give equal tissues, so that a healthy
            and a broken scan differ by the fracture alone.
        fracture: one drawn for this bone in this pose.

    Returns:
        ct: (z, y, x) int16, Hounsfield units.
        mask: (z, y, x) uint8, 1 in the bone.
    """
    points = grid.voxel_centres()
    in_bone_frame = transformed(points, np.linalg.inv(pose))
    distance = anatomy.signed_distance(in_bone_frame) * scale_of(pose)
    if fracture is not None:
        _break(distance, points, anatomy, pose, fracture)
    ct = _paint(distance, in_bone_frame, anatomy, grid.spacing, rng)
    return _acquire(ct, rng), (distance < 0).astype(np.uint8)


def oblique_axial(
    anatomy: BoneAnatomy, pose: Affine, rng: np.random.Generator, spacing_mm: Spacing = SPACING_MM
) -> Grid:
    """An axial grid, tilted by up to six degrees about each axis, around the whole bone."""
    a, b, c = rng.uniform(-6, 6, 3)
    cosines = rotation((a, b, c))
    bone = transformed(anatomy.coarse_points(3.0), pose) @ cosines  # along the axes of the grid
    first, last = bone.min(axis=0) - MARGIN_MM, bone.max(axis=0) + MARGIN_MM
    nx, ny, nz = (int(n) for n in np.ceil((last - first) / spacing_mm[::-1]) + 1)
    x, y, z = (float(v) for v in cosines @ first)
    return Grid((nz, ny, nx), spacing_mm, (x, y, z), tuple(cosines.ravel().tolist()))


def write_bone_dataset(
    folder: Path,
    cases: int,
    seed: int,
    *,
    test: int = 2,
    spacing_mm: Spacing = SPACING_MM,
    progress: Callable[[str], None] = lambda case: None,
) -> None:
    """Write a raw dataset for completion: NRRD files, dataset.json and poses.json.

    Training cases are healthy: imagesTr, labelsTr. Test cases are broken: imagesTs holds their scans, masksTs
    where to keep (1) and where to complete (2) the bone; labelsTs and truthTs hold label map and scan of the
    healthy bone on the same grid. poses.json holds the pose of every case. Names end in the side, _R and _L
    in turn. Every case has a random stream of its own: more cases leave the first ones as they were.
    `progress` is called with the name of each case.
    """
    poses = {}
    for k in range(cases + test):
        stream, number = (0, k) if k < cases else (1, k - cases)
        left = number % 2 == 1
        name = f"phantom{k + 1:02d}_{'L' if left else 'R'}"
        rng = np.random.default_rng([seed, stream, number])
        anatomy, pose = BoneAnatomy.draw(rng, left), draw_pose(rng)
        grid = oblique_axial(anatomy, pose, rng, spacing_mm)
        write = _write_healthy if stream == 0 else _write_broken
        write(folder, name, anatomy, pose, grid, rng)
        poses[name] = pose.tolist()
        progress(name)
    description = {
        "task": "completion",
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": cases,
        "file_ending": ".nrrd",
    }
    write_json(folder / "dataset.json", description)
    write_json(folder / "poses.json", poses)


def _write_healthy(
    folder: Path,
    name: str,
    anatomy: BoneAnatomy,
    pose: Affine,
    grid: Grid,
    rng: np.random.Generator,
) -> None:
    ct, mask = scan_bone(anatomy, pose, grid, rng)
    write_image(folder / "imagesTr" / f"{name}_0000.nrrd", ct, grid)
    write_image(folder / "labelsTr" / f"{name}.nrrd", mask, grid)


def _write_broken(
    folder: Path,
    name: str,
    anatomy: BoneAnatomy,
    pose: Affine,
    grid: Grid,
    rng: np.random.Generator,
) -> None:
    tissues = int(rng.integers(2**32))  # the same in both scans
    healthy_ct, healthy = scan_bone(anatomy, pose, grid, np.random.default_rng(tissues))
    fracture = Fracture.draw(healthy, grid, rng)
    broken_ct, _ = scan_bone(anatomy, pose, grid, np.random.default_rng(tissues), fracture)
    write_image(folder / "imagesTs" / f"{name}_0000.nrrd", broken_ct, grid)
    write_image(folder / "masksTs" / f"{name}.nrrd", completion_mask(healthy, grid, fracture), grid)
    write_image(folder / "labelsTs" / f"{name}.nrrd", healthy, grid)
    write_image(folder / "truthTs" / f"{name}_0000.nrrd", healthy_ct, grid)


def completion_mask(healthy: npt.NDArray[np.uint8], grid: Grid, fracture: Fracture) -> npt.NDArray[np.uint8]:
    """(z, y, x) uint8 of a broken bone: KEEP where it is intact, COMPLETE where it has to be completed."""
    mask = np.where(healthy > 0, KEEP, 0).astype(np.uint8)
    mask[fracture.region(grid.voxel_centres())] = COMPLETE
    return mask


def _break(distance: Floats, points: Floats, anatomy: BoneAnatomy, pose: Affine, fracture: Fracture) -> None:
    """Remove the fragment and put it back where it has moved. Changes `distance` (z, y, x), which keeps
    its values from the healthy bone, so that the faces of a break show no cortex."""
    inside = fracture.region(points)
    near = points[inside]
    broken = distance[inside]
    broken[fracture.fragment(near)] = 1.0
    before = fracture.before(near)
    moved = anatomy.signed_distance(transformed(before, np.linalg.inv(pose))) * scale_of(pose)
    arrived = fracture.fragment(before) & (moved < 0)
    broken[arrived] = moved[arrived]
    distance[inside] = broken


# ---- tissues


def _paint(
    distance: Floats, points: Floats, anatomy: BoneAnatomy, spacing_mm: Spacing, rng: np.random.Generator
) -> Floats:
    """(z, y, x) HU of the bone at `distance` (mm in the patient) in a leg; `points` are in the bone frame."""
    u = rng.uniform
    grain = _grain(rng, distance.shape, 1.3, spacing_mm)
    ct = _leg(points, u(4, 9), u(-115, -85), u(42, 55) + 5 * grain)
    depth = np.clip(0.5 - points[..., 2] / anatomy.height_mm, 0, 1)
    cortex_mm = u(1.8, 2.3) + u(1.2, 2.2) * depth  # thin under the joint, thick in the shaft
    spongy = np.clip(u(190, 250) + 60 * (0.5 - depth) + 35 * grain, 120, 320)
    hard = np.clip(u(1080, 1220) + 60 * grain, 900, 1400)
    return np.where(distance < 0, np.where(distance > -cortex_mm, hard, spongy), ct)


def _leg(points: Floats, fat_mm: float, fat_hu: float, muscle_hu: Floats) -> Floats:
    """Air, fat under the skin, and muscle: a round leg with the shin in front."""
    depth = 58 - np.hypot(points[..., 0] / 1.05, points[..., 1] - 20)
    return np.where(depth > fat_mm, muscle_hu, np.where(depth > 0, fat_hu, AIR_HU))


def _grain(rng: np.random.Generator, shape: tuple[int, ...], length_mm: float, spacing_mm: Spacing) -> Floats:
    """(z, y, x) random field, mean 0 and deviation 1, that varies over `length_mm`."""
    field = rng.standard_normal(shape, np.float32)
    field = ndimage.gaussian_filter(field, [length_mm / mm for mm in spacing_mm], truncate=3.0)
    return np.asarray((field - field.mean()) / field.std(), np.float64)


def _acquire(ct: Floats, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Blur a little, add the detector's noise and round."""
    blurred = ndimage.gaussian_filter(ct.astype(np.float32), 0.45)
    noisy = blurred + rng.uniform(10, 22) * rng.standard_normal(ct.shape, np.float32)
    return np.asarray(np.rint(noisy.clip(-1024, 3071)), np.int16)
