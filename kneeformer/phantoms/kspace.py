"""Raw k-space of synthetic knees: a smooth phase, several coils, an oversampled readout, padding and noise.

The image of `phantoms.knee` is measured as a scanner would measure it; nothing is squared, cropped or rounded
before the Fourier transform. Files are in fastMRI's HDF5 layout.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage

from kneeformer.data.files import write_json, written_whole
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.kspace.fourier import to_kspace, zero_filled
from kneeformer.phantoms.knee import make_knee

SHAPE, SPACING_MM = (8, 64, 64), (4.5, 1.9, 1.9)
_PADDING = 0.05  # share of the columns on each side that is not measured

_HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
 <encodedSpace><matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize>
  <fieldOfView_mm><x>{high}</x><y>{wide}</y><z>{thick}</z></fieldOfView_mm></encodedSpace>
 <reconSpace><matrixSize><x>{height}</x><y>{width}</y><z>1</z></matrixSize></reconSpace>
 <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
 </kspace_encoding_step_1></encodingLimits>
</encoding></ismrmrdHeader>
"""


def make_kspace(
    rng: np.random.Generator, shape: Size = SHAPE, coils: int = 4, noise: float = 0.02
) -> np.ndarray:
    """Draw a knee and measure it.

    Args:
        shape: of the image, (slices, rows, columns).
        noise: standard deviation in each coil, relative to the 99th percentile of the image.

    Returns:
        (slices, coils, 2 rows, 1.15 columns) complex64; the outer columns are zero.
    """
    image = make_knee(rng, shape, SPACING_MM)[0].astype(np.float32)
    image /= np.percentile(image, 99)
    phase = np.exp(1.5j * _smooth(rng, shape))
    slices, rows, columns = shape[0], 2 * shape[1], 2 * round(shape[2] * 1.15 / 2)
    margins = (
        (0, 0),
        (0, 0),
        *(((n - s) // 2,) * 2 for n, s in zip((rows, columns), shape[1:], strict=True)),
    )
    seen = np.pad((image * phase)[:, None] * sensitivities(rng, coils, shape[1:]), margins)
    kspace = to_kspace(seen)
    kspace += noise / np.sqrt(2) * (rng.standard_normal(seen.shape) + 1j * rng.standard_normal(seen.shape))
    padding = round(columns * _PADDING)
    kspace[..., :padding], kspace[..., columns - padding :] = 0, 0
    return np.asarray(kspace.reshape(slices, coils, rows, columns).astype(np.complex64))


def sensitivities(rng: np.random.Generator, coils: int, shape: tuple[int, ...]) -> np.ndarray:
    """(coils, rows, columns) complex: smooth maps of coils around the leg; their squares sum to 1."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / np.array(shape)[:, None, None] - 0.5
    angles = 2 * np.pi * (np.arange(coils) + rng.random()) / coils
    maps = np.stack(
        [
            np.exp(-((y - 0.6 * np.sin(a)) ** 2 + (x - 0.6 * np.cos(a)) ** 2) / 0.5 + 1j * (a + x - y))
            for a in angles
        ]
    )
    return np.asarray(maps / np.sqrt((abs(maps) ** 2).sum(0)))


def write_kspace_dataset(
    folder: Path, cases: int, seed: int, *, test: int = 2, shape: Size = SHAPE, coils: int = 4
) -> None:
    """Write a raw dataset of fully sampled k-space: imagesTr, imagesTs, dataset.json. Needs h5py."""
    for stream, (part, count) in enumerate((("Tr", cases), ("Ts", test))):
        for k in range(count):
            kspace = make_kspace(np.random.default_rng([seed, stream, k]), shape, coils)
            _write(folder / f"images{part}" / f"phantom_{stream}{k:02d}.h5", kspace, shape, SPACING_MM)
    description = {
        "task": "reconstruction",
        "channel_names": {"0": "kspace"},
        "labels": {},
        "numTraining": cases,
        "file_ending": ".h5",
    }
    write_json(folder / "dataset.json", description)


def _write(path: Path, kspace: np.ndarray, shape: Size, spacing: Spacing) -> None:
    import h5py

    rows, columns = kspace.shape[-2:]
    padding = round(columns * _PADDING)
    header = _HEADER.format(
        rows=rows,
        columns=columns,
        high=rows * spacing[1],
        wide=columns * spacing[2],
        thick=spacing[0],
        height=shape[1],
        width=shape[2],
        last=columns - 2 * padding - 1,
        centre=columns // 2 - padding,
    )
    with written_whole(path) as beside, h5py.File(beside, "w") as file:
        file["kspace"] = kspace
        file["reconstruction_rss"] = zero_filled(np.moveaxis(kspace, 1, 0), shape)
        file["ismrmrd_header"] = header


def _smooth(rng: np.random.Generator, shape: Size) -> np.ndarray:
    """Smooth noise of standard deviation 1 that varies over a third of the image."""
    rough = rng.standard_normal(shape)
    smooth = ndimage.gaussian_filter(rough, [n / 6 for n in shape], mode="reflect")
    return np.asarray(smooth / smooth.std())
