"""Our coil sensitivities against ESPIRiT's, of one fully sampled slice: what they lose, and SENSE by them.

    python tests/benchmarks/sensitivities.py FILE [--slice Z] [--acceleration 4]

FILE is k-space that kneeformer reads, or BART's .cfl of (1, rows, columns, coils). Both estimate from the
same 24 centre lines. `lost` is the energy of the coil images, where there is signal, that no image seen
through the maps can have: |(1 - S S*) m|^2 / |m|^2. SENSE is 30 conjugate-gradient steps, measured samples
are kept; PSNR is that of the root sum of squares. ESPIRiT's are sigpy's, which the test extra brings.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sigpy.mri.app import EspiritCalib

from kneeformer.data.images import read_image
from kneeformer.kspace.coils import coil_sensitivities
from kneeformer.kspace.fourier import root_sum_of_squares, to_image, to_kspace
from kneeformer.kspace.sampling import draw_mask, measured_columns
from kneeformer.metrics.reconstruction import psnr
from kneeformer.networks.sense import Measurement
from kneeformer.tasks.mri_reconstruction.prepare import hybrid_kspace, scale_of

_WIDTH, _SIGNAL = 24, 0.1  # samples of the centre; of the brightest voxel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--slice", type=int, default=0)
    parser.add_argument("--acceleration", type=float, default=4)
    arguments = parser.parse_args()
    hybrid = read(arguments.file, arguments.slice)
    hybrid = hybrid / scale_of(hybrid, (-1,))
    images = to_image(hybrid, (3,))
    truth = root_sum_of_squares(images)
    signal = truth > _SIGNAL * truth.max()
    acquired = measured_columns(hybrid)
    mask = draw_mask("random", acquired, arguments.acceleration, [0])
    both = {"low resolution": coil_sensitivities(hybrid, (-1,), _WIDTH), "ESPIRiT": espirit(hybrid)}
    print(f"{arguments.file.name}, true acceleration {acquired.sum() / mask.sum():.2f}")
    for name, maps in both.items():
        left = images - maps * (maps.conj() * images).sum(0)
        lost = (np.abs(left) ** 2).sum(0)[signal].sum() / (truth[signal] ** 2).sum()
        found = sense(hybrid, mask, maps)
        print(f"{name:15} lost {lost:.3%}, SENSE {psnr(truth, found):.2f} dB")


def read(file: Path, z: int) -> np.ndarray:
    """(coils, 1, rows, columns) of a slice: image along the rows."""
    if file.suffix != ".cfl":
        image = read_image(file)
        return hybrid_kspace(image.array[:, z : z + 1], image.grid.shape[1], (-1,))
    sizes = [int(n) for n in file.with_suffix(".hdr").read_text(encoding="utf-8").split("\n")[1].split()]
    stored = np.fromfile(file, np.complex64).reshape(sizes, order="F").squeeze()
    return to_image(np.moveaxis(stored, 2, 0)[:, None], (2,)).astype(np.complex64)


def espirit(hybrid: np.ndarray) -> np.ndarray:
    """ESPIRiT's maps (Uecker et al. 2014), 0 where it finds no signal."""
    kspace = to_kspace(hybrid[:, 0], (1,))
    found = EspiritCalib(kspace, calib_width=_WIDTH, crop=0, show_pbar=False).run()
    return np.asarray(found)[:, None]


def sense(hybrid: np.ndarray, mask: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """(1, rows, columns) magnitudes."""
    arrays = (hybrid * mask, mask.reshape(1, 1, 1, -1), maps)
    samples, kept, sensitivities = (torch.from_numpy(np.ascontiguousarray(a))[None] for a in arrays)
    operator = Measurement(samples, kept, sensitivities)
    image = operator.nearest(None, 0.01, iterations=30)
    return root_sum_of_squares(operator.consistent_coil_images(image)[0].numpy())


if __name__ == "__main__":
    main()
