"""Sampling masks exactly as the fastMRI challenge draws them (Zbontar et al. 2018), for comparisons with it.

They count columns of the whole matrix, padding included, and meet the acceleration on average or not at all:
see `kneeformer.kspace.sampling` for masks of an exact number of columns.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kneeformer.errors import KneeformerError


def seed_of_file(name: str) -> list[int]:
    """The seed that fastMRI gives a file for its mask: the characters of its name ("file1000000.h5")."""
    return [ord(character) for character in name]


def fastmri_mask(
    kind: str, columns: int, acceleration: int, centre_fraction: float, seed: Sequence[int]
) -> np.ndarray:
    """A mask as fastMRI draws it.

    Args:
        kind: one of FASTMRI_KINDS.
        columns: of the whole matrix.
        centre_fraction: of columns in the middle that are all measured.
        seed: `seed_of_file` for that of fastMRI's validation.

    Returns:
        (columns,) bool.

    Raises:
        KneeformerError: no such kind, or the centre alone exceeds this acceleration's samples.
    """
    if kind not in FASTMRI_KINDS:
        raise KneeformerError(f"mask {kind!r} is not one of {', '.join(FASTMRI_KINDS)}")
    rng = np.random.RandomState(list(seed))
    rng.randint(1)  # fastMRI draws an acceleration here, even from one
    centre = round(columns * centre_fraction)
    if not 0 < centre * acceleration < columns:
        raise KneeformerError(
            f"{columns} columns at {acceleration}x leave {columns / acceleration:.1f} to measure, and the "
            f"centre takes {centre}; choose another centre fraction"
        )
    drawn = FASTMRI_KINDS[kind](rng, columns, acceleration, centre)
    return np.asarray(centre_lines(columns, centre) | drawn)


def centre_lines(columns: int, count: int) -> np.ndarray:
    """(columns,) bool: `count` neighbouring columns around the zero frequency."""
    mask = np.zeros(columns, bool)
    first = (columns - count + 1) // 2
    mask[first : first + count] = True
    return mask


def _random(rng: np.random.RandomState, columns: int, acceleration: int, centre: int) -> np.ndarray:
    probability = (columns / acceleration - centre) / (columns - centre)
    return np.asarray(rng.uniform(size=columns) < probability)


def _equispaced(rng: np.random.RandomState, columns: int, acceleration: int, centre: int) -> np.ndarray:
    mask = np.zeros(columns, bool)
    mask[rng.randint(0, acceleration) :: acceleration] = True
    return mask


def _equispaced_fraction(
    rng: np.random.RandomState, columns: int, acceleration: int, centre: int
) -> np.ndarray:
    """Lines at a fractional spacing that makes up for those of the centre."""
    spacing = acceleration * (centre - columns) / (centre * acceleration - columns)
    offset = rng.randint(0, round(spacing))
    mask = np.zeros(columns, bool)
    mask[np.around(np.arange(offset, columns - 1, spacing)).astype(int)] = True
    return mask


def _magic(rng: np.random.RandomState, columns: int, acceleration: int, centre: int) -> np.ndarray:
    """Equispaced, with another offset on the conjugate side of k-space (Defazio 2019)."""
    offset = rng.randint(0, acceleration)
    even = offset % 2 == 0
    after, before = (offset + 1, offset + 2) if even else (offset + 2, offset - 1)
    positive, negative = np.zeros((columns + 1) // 2, bool), np.zeros(columns // 2, bool)
    positive[after::acceleration] = True
    negative[before::acceleration] = True
    return np.fft.fftshift(np.concatenate([positive, negative[::-1]]))


FASTMRI_KINDS: dict[str, Callable[[np.random.RandomState, int, int, int], np.ndarray]] = {
    "random": _random,
    "equispaced": _equispaced,
    "equispaced_fraction": _equispaced_fraction,
    "magic": _magic,
}
