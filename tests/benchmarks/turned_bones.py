"""Completion of bones that lie turned in their scans, beside the same bones upright.

    python tests/benchmarks/turned_bones.py RAW_FOLDER MODEL_FOLDER [TURN ...]

RAW_FOLDER holds imagesTs/CASE_0000, masksTs/CASE and truthTs/CASE, which MODEL_FOLDER (.../kfPlans__3d_gp)
has not learnt from. A bone is turned by the direction and origin in the header of its scan; its voxels stay.
Printed are the RMSD of the surfaces in the region in mm, CPU seconds of the completion, and warnings.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from kneeformer.data.images import read_image
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import surface_of
from kneeformer.labels import COMPLETE
from kneeformer.metrics.mesh_distance import rmsd
from kneeformer.tasks.base import Scan
from kneeformer.workflows.predict import Predictor

TURNS = {
    "upright": Rotation.identity(),
    **{
        f"{axis}{angle}": Rotation.from_euler(axis, angle, degrees=True)
        for axis in "xyz"
        for angle in (180, 90, -90, 10, -10)
    },
    **{f"random{seed}": Rotation.random(random_state=seed) for seed in (1, 2)},
}


def turned(grid: Grid, turn: Rotation) -> Grid:
    matrix = turn.as_matrix()
    x, y, z = (float(v) for v in matrix @ np.array(grid.origin))
    cosines = tuple(float(v) for v in (matrix @ np.array(grid.direction).reshape(3, 3)).ravel())
    return replace(grid, origin=(x, y, z), direction=cosines)


def main() -> None:
    torch.set_num_threads(1)
    raw, names = Path(sys.argv[1]), sys.argv[3:] or list(TURNS)
    predictor = Predictor.from_model_folder(sys.argv[2])
    errors: dict[str, list[float]] = {name: [] for name in names}
    for file in sorted((raw / "masksTs").iterdir()):
        name, ending = file.name.split(".", 1)
        mask, truth = read_image(file).array, read_image(raw / "truthTs" / file.name).array
        scan = read_image(raw / "imagesTs" / f"{name}_0000.{ending}")
        to_index = np.linalg.inv(scan.grid.to_patient())
        true = surface_of(truth, 0.5, scan.grid)

        def in_region(
            points: np.ndarray, to_index: np.ndarray = to_index, mask: np.ndarray = mask
        ) -> np.ndarray:
            index = np.rint(points @ to_index[:3, :3].T + to_index[:3, 3]).astype(int)
            z, y, x = np.clip(index, 0, np.array(mask.shape) - 1).T
            return np.asarray(mask[z, y, x] == COMPLETE)

        for turn in names:
            grid = turned(scan.grid, TURNS[turn])
            started = time.process_time()
            outputs = predictor.predict_scan(Scan(scan.array[None], grid, mask))
            seconds = time.process_time() - started
            found = surface_of(outputs.volumes[""], 0.5, scan.grid)
            errors[turn].append(rmsd(true, found, within=in_region))
            warnings = outputs.facts["warnings"] or ""
            print(f"{name} {turn}: {errors[turn][-1]:.2f} mm, {seconds:.1f} s {warnings}", flush=True)
    upright = np.array(errors[names[0]])
    for turn, values in errors.items():
        apart = np.array(values) - upright
        print(
            f"{turn}: mean {np.mean(values):.2f}, at most {max(values):.2f}; beyond {names[0]}: mean "
            f"{apart.mean():+.2f}, {apart.min():+.2f} to {apart.max():+.2f}"
        )


if __name__ == "__main__":
    main()
