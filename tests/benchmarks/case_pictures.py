"""CPU seconds of the pictures of a case: a knee's overlay and preview, a tibia's completion.

python tests/benchmarks/case_pictures.py
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kneeformer.data.images import Image
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, LabelScheme
from kneeformer.phantoms.bone import oblique_axial, scan_bone
from kneeformer.phantoms.bone_shape import BoneAnatomy, draw_pose
from kneeformer.phantoms.knee import LABELS, make_knee
from kneeformer.reporting.overlays import draw_overlay
from kneeformer.tasks.bone_completion.completion_picture import CompletedBone, draw_completion

KNEE, KNEE_MM = (36, 320, 320), (3.1, 0.44, 0.44)
TIBIA_MM = (0.8, 0.5, 0.5)


def seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    rng, scheme = np.random.default_rng(0), LabelScheme.from_json(LABELS)
    image, labels = make_knee(rng, KNEE, KNEE_MM)
    scan = Image(image, Grid.along_patient(KNEE, KNEE_MM, "RIP"))
    anatomy, pose = BoneAnatomy.draw(rng), draw_pose(rng)
    grid = oblique_axial(anatomy, pose, rng, TIBIA_MM)
    ct, bone = scan_bone(anatomy, pose, grid, rng)
    mask = (bone > 0).astype(np.uint8)
    mask[mask.shape[0] // 2 : mask.shape[0] * 2 // 3] *= COMPLETE
    completed = CompletedBone(ct, mask, bone, grid, np.where(mask == COMPLETE, 1.0, 0.0))
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "case.png"
        draw_overlay(scan, labels, scheme, picture)  # imports
        print(f"overlay {KNEE}: {seconds(lambda: draw_overlay(scan, labels, scheme, picture)):.2f} s")
        preview = seconds(lambda: draw_overlay(scan, labels, scheme, picture, surfaces=True))
        print(f"preview with surfaces: {preview:.2f} s")
        noise = rng.integers(0, len(LABELS), KNEE).astype(np.uint8)  # of a network that has not learnt yet
        preview = seconds(lambda: draw_overlay(scan, noise, scheme, picture, surfaces=True))
        print(f"preview of noise: {preview:.2f} s")
        print(f"completion {ct.shape}: {seconds(lambda: draw_completion(completed, picture)):.2f} s")


if __name__ == "__main__":
    main()
