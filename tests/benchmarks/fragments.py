"""Fragments of broken bones put back, against the truth.

    python tests/benchmarks/fragments.py RAW_FOLDER MODEL_FOLDER

RAW_FOLDER holds imagesTs/CASE_0000, masksTs/CASE, fragmentsTs/CASE (3 where the fragment lies) and CASE.json
beside it, whose "reduction_lps" puts it back; MODEL_FOLDER (.../kfPlans__3d_gp) has not learnt from these.
Printed are, of each fragment over 3 ml, its volume, the mean error of its voxels before and after in mm, the
error of its rotation in degrees, CPU seconds of the prediction, and warnings; then medians, also by volume.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from kneeformer.data.images import read_image
from kneeformer.geometry.affine import transformed
from kneeformer.tasks.cases import Scan
from kneeformer.workflows.predict import Predictor

_FRAGMENT, _FAR_MM = 3, 5.0
_CLASSES_ML = (3.0, 6.0, 12.0, np.inf)  # smaller ones are left out


def main() -> None:
    torch.set_num_threads(1)
    raw = Path(sys.argv[1])
    predictor = Predictor.from_model_folder(sys.argv[2])
    rows = []
    for file in sorted((raw / "masksTs").iterdir()):
        name, ending = file.name.split(".", 1)
        fragment = read_image(raw / "fragmentsTs" / file.name).array == _FRAGMENT
        scan = read_image(raw / "imagesTs" / f"{name}_0000.{ending}")
        volume = float(fragment.sum()) * scan.grid.voxel_mm3 / 1000
        if volume < _CLASSES_ML[0]:
            continue
        mask = np.where(fragment, _FRAGMENT, read_image(file).array).astype(np.uint8)
        started = time.process_time()
        outputs = predictor.predict_scan(Scan(scan.array[None], scan.grid, mask))
        seconds = time.process_time() - started
        found = outputs.transforms[f"_fragment{_FRAGMENT}"]
        true = np.array(json.loads((raw / "fragmentsTs" / f"{name}.json").read_text())["reduction_lps"])
        points = transformed(np.argwhere(fragment), scan.grid.to_patient())
        before, after = (
            float(np.linalg.norm(transformed(points, matrix) - transformed(points, true), axis=1).mean())
            for matrix in (np.eye(4), found)
        )
        turn = Rotation.from_matrix(found[:3, :3].T @ true[:3, :3])
        warned = [line for line in outputs.facts["warnings"] if line.startswith("fragment")]
        rows.append((before, after, float(np.degrees(turn.magnitude())), bool(warned), volume))
        print(
            f"{name}: {volume:.1f} ml, {before:.2f} mm before, {after:.2f} mm and {rows[-1][2]:.1f} degrees "
            f"after, {seconds:.1f} s {'; '.join(warned)}",
            flush=True,
        )
    table = np.array(rows)
    for low, high in pairwise(_CLASSES_ML):
        part = table[(table[:, 4] >= low) & (table[:, 4] < high)]
        mm, degrees = np.median(part[:, 1:3], 0) if len(part) else (np.nan, np.nan)
        print(f"{low:g} to {high:g} ml: {len(part)}, median {mm:.2f} mm and {degrees:.1f} degrees after")
    far, warned_of = table[:, 1] > _FAR_MM, table[:, 3] > 0
    middle = np.median(table[:, :3], 0)
    print(
        f"{len(table)} fragments, median: {middle[0]:.2f} mm before, {middle[1]:.2f} mm and {middle[2]:.1f} "
        f"degrees after; over {_FAR_MM:g} mm: {far.sum()}, {(far & warned_of).sum()} of them with a warning; "
        f"others with one: {(~far & warned_of).sum()}"
    )


if __name__ == "__main__":
    main()
