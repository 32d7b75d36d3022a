"""Rotation that brings the long axis of a bone onto an axis of the patient."""

import numpy as np
import scipy


def longest_axis(points: np.ndarray) -> np.ndarray:
    """(3,) float64 unit vector: the first principal axis of (n, 3) points, in either direction."""
    centred = points - points.mean(0)
    return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, -1])


def straightening(points: np.ndarray) -> np.ndarray:
    """(3, 3) float64 rotation that turns the longest axis of (n, 3) points onto the nearest coordinate axis.

    It is the smallest such rotation, about the axis perpendicular to both, and never more than 55 degrees.
    """
    longest = longest_axis(points)
    nearest = int(np.argmax(np.abs(longest)))
    target = np.zeros(3)
    target[nearest] = np.sign(longest[nearest])
    turn, _ = scipy.spatial.transform.Rotation.align_vectors([target], [longest])
    return np.asarray(turn.as_matrix())
