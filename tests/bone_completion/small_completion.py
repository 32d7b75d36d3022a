"""A completion of phantom tibias on a coarse grid, learnt in seconds, and scans of others to complete."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from kneeformer.config import DatasetSettings, Evidence, TrainingSettings
from kneeformer.geometry.grid import Grid
from kneeformer.phantoms.bone import oblique_axial, scan_bone
from kneeformer.phantoms.bone_shape import BoneAnatomy, draw_pose
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.groupwise import fit_prototype
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.sides import Side
from kneeformer.tasks.bone_completion.isolation import isolate
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneGridSettings
from kneeformer.tasks.bone_completion.task import BoneCompletion
from kneeformer.tasks.cases import Outputs, Scan

BONES = 6
GRID = BoneGridSettings(folder="bones", spacing=(4.0, 4.0, 4.0), grid=(32, 32, 32))
PRIOR = PriorSettings(kind="pca", components=4)
DATASET = DatasetSettings(
    name="Dataset001_Bone",
    labels={"background": 0, "tibia": 1},
    channel_names=("CT",),
    file_ending=".nrrd",
)


@dataclass(frozen=True)
class Tibia:
    """A scan of a phantom bone.

    Attributes:
        bone: (z, y, x) bool.
    """

    ct: np.ndarray
    bone: np.ndarray
    grid: Grid

    @classmethod
    def scanned(cls, number: int, left: bool = False) -> "Tibia":
        rng = np.random.default_rng([12, number])
        anatomy, pose = BoneAnatomy.draw(rng, left), draw_pose(rng)
        grid = oblique_axial(anatomy, pose, rng, (2.5, 2.5, 2.5))
        ct, mask = scan_bone(anatomy, pose, grid, rng)
        return cls(ct, mask > 0, grid)

    def turned(self, turn: np.ndarray) -> "Tibia":
        """The same voxels, as if the patient had lain in the scanner turned by a (3, 3) rotation."""
        direction = turn @ np.array(self.grid.direction).reshape(3, 3)
        x, y, z = (float(v) for v in turn @ np.array(self.grid.origin))
        cosines = tuple(float(v) for v in direction.ravel())
        return replace(self, grid=replace(self.grid, origin=(x, y, z), direction=cosines))


@cache
def learnt() -> CompletionModel:
    """Fitted to right tibias as they lie."""
    network = CompletionModel(GRID.grid, GRID.spacing, RegistrationSettings(), PRIOR)
    tibias = [Tibia.scanned(number) for number in range(BONES)]
    bones = [torch.from_numpy(isolate(t.ct, t.bone.astype(np.uint8), t.grid, GRID).image) for t in tibias]
    poses = fit_prototype(network.registration, bones)
    seen = [network.registration.registered(b, p) for b, p in zip(bones, poses, strict=True)]
    network.fit(torch.stack(seen))
    return network.eval()


def complete(
    ct: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    own: Side | None = None,
    side: Side | None = None,
    other: Scan | None = None,
) -> Outputs:
    """What the task makes of one scan.

    Args:
        own: the side that bones are mirrored into.
        side: that is told of the scan.
        other: scan and bone of the other side.
    """
    configuration = BoneConfiguration(
        task="completion",
        preprocessing=GRID.model_copy(update={"side": own}),
        registration=RegistrationSettings(),
        prior=PRIOR,
        training=TrainingSettings(
            crop=GRID.grid, batch_size=1, epochs=0, steps_per_epoch=1, learning_rate=1e-3
        ),
        evidence=Evidence(crop_share_of_volume=1.0, tokens_per_crop=1),
    )
    scan = Scan(ct[None], grid, mask.astype(np.uint8), side, other_side=other)
    return BoneCompletion().predict([learnt()], scan, DATASET, configuration)
