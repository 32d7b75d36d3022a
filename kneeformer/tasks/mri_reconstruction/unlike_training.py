"""Warnings about scans that were measured differently from the training scans. Needs no torch."""

import numpy as np

from kneeformer.kspace.sampling import apparent_acceleration
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration

_TOLERANCE = 1.15  # of the acceleration; 6 lines of a small matrix cannot meet it exactly


def unlike_training(
    mask: np.ndarray, columns: int, configuration: ReconstructionConfiguration
) -> tuple[str, ...]:
    """Return a sentence for each of acceleration and matrix that is not one of training; of solvers none.

    Args:
        mask: bool over the phase-encoding axes, True where samples were measured.
        columns: of the image.
    """
    if configuration.solver is not None:
        return ()
    low, high = configuration.sampling.accelerations
    found, learnt = apparent_acceleration(mask), configuration.training.crop[2]
    doubts = []
    if not low / _TOLERANCE <= found <= high * _TOLERANCE:
        doubts.append(
            f"undersampled {found:.1f}x, and the network was trained at {low:g}x to {high:g}x; compare with "
            f"-c tv"
        )
    if columns != learnt:
        doubts.append(f"{columns} columns, and the network was trained on {learnt}; compare with -c tv")
    return tuple(doubts)
