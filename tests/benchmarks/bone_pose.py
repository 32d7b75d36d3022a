"""How exactly the pose of a bone is found: one phantom bone in random poses, whole and with a quarter hidden.

    python tests/benchmarks/bone_pose.py

A prototype is learnt from eight scans of the bone at 1.2 mm on a grid of 2 mm; twelve other scans of it are
registered. An error is the distance between where a point of the bone is brought, and where it was brought
from the eight on average.
"""

import numpy as np
import torch

from kneeformer.geometry.affine import transformed
from kneeformer.phantoms.bone import oblique_axial, scan_bone
from kneeformer.phantoms.bone_shape import BoneAnatomy, draw_pose
from kneeformer.shape_models.groupwise import fit_prototype
from kneeformer.shape_models.registration import Registration
from kneeformer.shape_models.settings import RegistrationSettings
from kneeformer.tasks.bone_completion.fractures import hide
from kneeformer.tasks.bone_completion.isolation import Bone, isolate
from kneeformer.tasks.bone_completion.settings import BoneGridSettings

GRID = BoneGridSettings(folder="bones", spacing=(2, 2, 2), grid=(72, 64, 72))
ANATOMY = BoneAnatomy.draw(np.random.default_rng(5))


def scanned(number: int, hidden: float = 0.0) -> tuple[Bone, np.ndarray]:
    """A scan of the bone, isolated, and its pose."""
    rng = np.random.default_rng([1, number])
    pose = draw_pose(rng)
    grid = oblique_axial(ANATOMY, pose, rng)
    ct, mask = scan_bone(ANATOMY, pose, grid, rng)
    if hidden:
        mask = hide(mask > 0, grid, np.random.default_rng([2, number]), hidden)
    return isolate(ct, mask, grid, GRID), pose


def brought(network: Registration, bone: Bone, pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 3) mm on the prototype, of points of the bone."""
    fit = network(torch.from_numpy(bone.image), torch.from_numpy(bone.known))
    patient = np.c_[transformed(points, pose), np.ones(len(points))]
    on_grid = (np.linalg.inv(bone.to_patient) @ patient.T)[:3].T
    return np.asarray(fit.pose(torch.from_numpy(on_grid)))


def main() -> None:
    torch.set_num_threads(1)
    points = ANATOMY.coarse_points(6.0)
    points = points[ANATOMY.signed_distance(points) < 0]
    learnt = [scanned(number) for number in range(8)]
    network = Registration(GRID.grid, GRID.spacing, RegistrationSettings())
    fit_prototype(network, [torch.from_numpy(bone.image) for bone, _ in learnt])
    places = np.array([brought(network, bone, pose, points) for bone, pose in learnt])
    pairs = [np.linalg.norm(a - b, axis=1).mean() for i, a in enumerate(places) for b in places[:i]]
    print(f"two poses: mean distance of their points {np.mean(pairs):.2f} mm, at most {max(pairs):.2f}")
    for hidden in (0.0, 0.25):
        others = (scanned(number, hidden) for number in range(20, 32))
        found = np.array([brought(network, bone, pose, points) for bone, pose in others])
        away = np.linalg.norm(found - places.mean(0), axis=2)
        print(f"{hidden:.0%} hidden: median {np.median(away):.3f} mm, 95 %: {np.quantile(away, 0.95):.3f} mm")


if __name__ == "__main__":
    main()
