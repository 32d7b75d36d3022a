"""Scores of models on whole bones, as in the tibia paper's first table.

They compare the raw output with the bone over the whole grid of prepared bones, with nothing pasted back:
once with nothing hidden, and once with a fifth of the bone hidden. They show registration and prior together,
and flatter, because most of the volume is air: the scores of hidden regions (`evaluation`) lead.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import surface_of
from kneeformer.labels import COMPLETE
from kneeformer.metrics.mesh_distance import rmsd
from kneeformer.metrics.metric import Values
from kneeformer.metrics.score_table import WHOLE, Part, Score, rows_of
from kneeformer.metrics.shape_completion import RMSD, intensity_metrics
from kneeformer.metrics.surface_distance import diagonal_mm
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.registration import DISTANCE
from kneeformer.tasks.bone_completion.batches import stored_bone
from kneeformer.tasks.bone_completion.fractures import hide, known_beside

MASKINGS = ("nothing hidden", "a fifth hidden")  # as regions of the scores, over the same voxels


def score_whole_bones(network: CompletionModel, case: Path, number: int) -> Iterator[Score]:
    """The rows of a prepared bone, for both of MASKINGS.

    Args:
        number: of the case, as the seed of the hidden part, which is the same for every configuration.
    """
    device = network.prior.mean.device
    bone = stored_bone(case)
    z, y, x = bone.shape[1:]
    grid = Grid((z, y, x), network.spacing)
    inside = bone[DISTANCE].numpy() < 0
    ball = hide(inside, grid, np.random.default_rng([20, number])) == COMPLETE
    for masking, hidden in zip(MASKINGS, (np.zeros_like(ball), ball), strict=True):
        known = known_beside(hidden, bone[DISTANCE].numpy(), network.spacing)
        completed = network(bone.to(device), torch.from_numpy(known).to(device))
        points = points_from_middle((z, y, x), network.spacing, device)
        ct, distance, _ = completed.at(points, network.spacing)
        found = torch.stack([ct, distance]).reshape(2, z, y, x).cpu().numpy()
        values = score_whole_bone(bone.numpy(), found, network.spacing)
        yield from rows_of(case.name, Part("bone", masking), values)


def score_whole_bone(bone: np.ndarray, found: np.ndarray, spacing_mm: Spacing) -> Values:
    """`intensity_metrics`, and RMSD between the zero levels of distance.

    Args:
        bone, found: (2, z, y, x): CT in [0, 1] and signed distance in mm.

    Returns:
        RMSD is the diagonal of the grid if nothing is found.
    """
    z, y, x = bone.shape[1:]
    grid, everywhere = Grid((z, y, x), spacing_mm), np.ones((z, y, x), bool)
    scores = intensity_metrics(bone[0], found[0], {WHOLE: everywhere})[WHOLE]
    if not (found[1] < 0).any():
        return scores | {RMSD: diagonal_mm(grid.shape, grid.spacing)}
    there, here = (surface_of(-volume[1], 0.0, grid) for volume in (bone, found))
    return scores | {RMSD: rmsd(there, here)}
