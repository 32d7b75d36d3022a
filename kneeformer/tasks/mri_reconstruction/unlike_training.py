"""Warnings about scans that were measured differently from the training scans. Needs no torch."""

import numpy as np

from kneeformer.geometry.aliases import Size
from kneeformer.kspace.sampling import apparent_acceleration
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration

_TOLERANCE = 1.15  # of the acceleration; 6 lines of a small matrix cannot meet it exactly


def unlike_training(
    mask: np.ndarray, shape: Size, configuration: ReconstructionConfiguration
) -> tuple[str, ...]:
    """A sentence for each of acceleration and matrix size that training did not include; none for solvers.

    Args:
        mask: bool over the phase-encoding axes, True where samples were measured.
        shape: of the image, (slices, rows, columns) of the scan.
    """
    if configuration.solver is not None:
        return ()
    low, high = configuration.sampling.accelerations
    found, (_, rows, columns) = apparent_acceleration(mask), configuration.training.crop
    doubts = []
    if not low / _TOLERANCE <= found <= high * _TOLERANCE:
        doubts.append(
            f"undersampled {found:.1f}x, and the network was trained at {low:g}x to {high:g}x; compare with "
            f"-c tv"
        )
    encoded = {"columns": (shape[2], columns)}
    if 0 in configuration.preprocessing.phase_encoding_axes:
        encoded["slices"] = shape[0], rows
    for axis, (size, learnt) in encoded.items():
        if size != learnt:
            doubts.append(f"{size} {axis}, and the network was trained on {learnt}; compare with -c tv")
    return tuple(doubts)
