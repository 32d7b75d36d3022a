"""Bones completed as they lie, and turned at random: each by a model of bones of other folds.

    python tests/benchmarks/turned_bones.py femur|tibia MASKS CACHE

MASKS is a folder of whole bones. All lie tilted by up to 15 degrees about each axis, as in scans; of each a
ball hides a fifth, and it is completed so and in a random rotation (any). A bone is turned by the direction
in its header; its voxels stay. Masks are taken at twice their spacing, without CT, and none is mirrored; the
models, of `3d_gp` on a coarse grid, are kept in the folder CACHE. Printed are the RMSD of the surfaces in the
region in mm, CPU seconds of a completion and its warnings; then means with 95 % intervals over bones, paired.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bone_completion import rmsd_mm
from scipy.spatial.transform import Rotation
from skimage.measure import block_reduce

from kneeformer.data.images import read_image
from kneeformer.geometry.boxes import slices
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE
from kneeformer.metrics.bootstrap import seeds_and_subjects_interval
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.groupwise import fit_prototype
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.sides import Side, side_in_name
from kneeformer.tasks.bone_completion.fractures import hide
from kneeformer.tasks.bone_completion.isolation import Outline, isolate, signed_distance
from kneeformer.tasks.bone_completion.native import distance_on
from kneeformer.tasks.bone_completion.settings import BoneGridSettings
from kneeformer.tasks.bone_completion.which_side import place, register

GRIDS = {
    "femur": BoneGridSettings(folder="bones", spacing=(4.0, 4.0, 4.0), grid=(40, 40, 136), straightened=True),
    "tibia": BoneGridSettings(folder="bones", spacing=(3.0, 3.0, 3.0), grid=(48, 40, 40)),
}
FOLDS, TILT_DEGREES, COMPONENTS = 5, 15.0, 32
REGISTRATION = RegistrationSettings(rounds=4)


@dataclass(frozen=True)
class Scanned:
    """A whole bone (z, y, x) bool, as it lies in a scan."""

    name: str
    bone: np.ndarray
    grid: Grid

    @property
    def side(self) -> Side | None:
        return side_in_name(self.name)

    def turned(self, turn: Rotation) -> "Scanned":
        matrix = turn.as_matrix() @ np.array(self.grid.direction).reshape(3, 3)
        return replace(self, grid=replace(self.grid, direction=tuple(float(v) for v in matrix.ravel())))

    @property
    def ct(self) -> np.ndarray:
        return np.where(self.bone, 700, -1000).astype(np.int16)


def scanned(folder: Path) -> list[Scanned]:
    bones = []
    for n, file in enumerate(sorted(folder.glob("*.nii.gz"))):
        image = read_image(file)
        half = np.pad(block_reduce(image.array > 0, (2, 2, 2), np.mean) > 0.5, 4)
        z, y, x = half.shape
        sz, sy, sx = (2 * edge for edge in image.grid.spacing)
        bone = Scanned(
            file.name.split(".")[0], half, replace(image.grid, shape=(z, y, x), spacing=(sz, sy, sx))
        )
        tilt = np.random.default_rng([1, n]).uniform(-TILT_DEGREES, TILT_DEGREES, 3)
        bones.append(bone.turned(Rotation.from_euler("zyx", tilt, degrees=True)))
    return bones


def model_of(bones: list[Scanned], settings: BoneGridSettings, file: Path) -> CompletionModel:
    """Learnt, or read from the file."""
    prior = PriorSettings(kind="gp", components=min(COMPONENTS, len(bones) - 1))
    model = CompletionModel(settings.grid, settings.spacing, REGISTRATION, prior)
    if not file.is_file():
        masks = [(b, b.bone.astype(np.uint8), settings.mirrors(b.side)) for b in bones]
        images = [torch.from_numpy(isolate(b.ct, m, b.grid, settings, s).image) for b, m, s in masks]
        poses = fit_prototype(model.registration, images, partial(print, "prototype"))
        seen = [model.registration.registered(b, p) for b, p in zip(images, poses, strict=True)]
        model.fit(torch.stack(seen))
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file))
    return model.eval()


@dataclass(frozen=True)
class Tried:
    """A completion: error in the region, CPU seconds, scale, and warnings."""

    error_mm: float
    seconds: float
    scale: float
    doubts: tuple[str, ...]


def complete(model: CompletionModel, scan: Scanned, settings: BoneGridSettings, mask: np.ndarray) -> Tried:
    started = time.process_time()
    outline = Outline.of(scan.ct, mask, scan.grid, settings)
    found, fits = register([model], outline, scan.side, settings)
    (fit,), (seen,) = place([model], found, fits, settings)
    completed = model.complete(*seen, fit)
    made = distance_on([completed], found.bone, outline.box, scan.grid, settings.spacing)
    seconds = time.process_time() - started
    cut = slices(outline.box)
    true, region = signed_distance(scan.bone[cut], scan.grid.spacing), mask[cut] == COMPLETE
    volumes = (torch.from_numpy(v) for v in (np.where(region, made, true), true, region))
    return Tried(rmsd_mm(*volumes, scan.grid.spacing), seconds, fit.pose.scale, found.doubts)


def folds(
    bones: list[Scanned], settings: BoneGridSettings, cache: Path
) -> Iterator[tuple[int, CompletionModel]]:
    """Each bone by its number, and a model that has not seen it."""
    for fold in range(FOLDS):
        others = [b for n, b in enumerate(bones) if n % FOLDS != fold]
        model = model_of(others, settings, cache / f"fold_{fold}.pt")
        yield from ((n, model) for n in range(fold, len(bones), FOLDS))


def interval(values: np.ndarray) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*seeds_and_subjects_interval(values[None]))


def main() -> None:
    torch.set_num_threads(1)
    settings, cache = GRIDS[sys.argv[1]], Path(sys.argv[3])
    bones, rows = scanned(Path(sys.argv[2])), []
    for n, model in folds(bones, settings, cache):
        mask = hide(bones[n].bone, bones[n].grid, np.random.default_rng([20, n]))
        turn = Rotation.random(random_state=n)
        tried = [complete(model, scan, settings, mask) for scan in (bones[n], bones[n].turned(turn))]
        said = (f"{t.error_mm:.2f} mm, scale {t.scale:.2f}, {t.seconds:.1f} s {[*t.doubts]}" for t in tried)
        print(bones[n].name, *said, sep="; ", flush=True)
        rows.append([(t.error_mm, t.seconds) for t in tried])
    errors, seconds = np.moveaxis(rows, 2, 0)
    apart = errors[:, 1] - errors[:, 0]
    print(f"upright {interval(errors[:, 0])}, at most {errors[:, 0].max():.2f} mm")
    print(f"turned {interval(errors[:, 1])}, at most {errors[:, 1].max():.2f} mm")
    print(f"turned less upright {interval(apart)}, {apart.min():+.2f} to {apart.max():+.2f} mm")
    print(f"within 0.2 mm: {(apart <= 0.2).sum()} of {len(apart)}")
    print(f"CPU {seconds.mean():.1f} s, at most {seconds.max():.1f} s")


if __name__ == "__main__":
    main()
