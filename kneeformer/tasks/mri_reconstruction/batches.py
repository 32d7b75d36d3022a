"""Batches of undersampled slabs, which hold encoded axes whole and a part of the others."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from kneeformer.data.open_cases import OpenCases
from kneeformer.data.storage import StoredCase
from kneeformer.engine.batch import Batch
from kneeformer.geometry.aliases import Size
from kneeformer.geometry.orientation import crop_to_patient
from kneeformer.kspace.coils import coil_sensitivities
from kneeformer.kspace.fourier import root_sum_of_squares, to_image
from kneeformer.kspace.sampling import draw_mask
from kneeformer.networks.ranks import share_of
from kneeformer.networks.sense import Measurement
from kneeformer.tasks.mri_reconstruction.masked_slabs import masked_slab
from kneeformer.tasks.mri_reconstruction.prepare import (
    as_mask,
    calibration_width,
    measured,
    scale_of,
    zero_filled_volume,
)
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration
from kneeformer.tasks.mri_reconstruction.split_slabs import Split, split_slab


@dataclass(frozen=True)
class WholeVolume:
    """Facts of a stored case that need all of its samples.

    Attributes:
        acquired: bool over the encoded axes.
        scale: by which its samples are divided.
        peak: maximum of its fully sampled image after that division.
    """

    acquired: np.ndarray
    scale: float
    peak: float

    @classmethod
    def of(cls, stored: StoredCase, axes: tuple[int, ...]) -> "WholeVolume":
        """Read a case."""
        kspace = stored.image[:]
        scale = scale_of(kspace, axes)
        peak = float(zero_filled_volume(kspace, axes, stored.record.shape).max())
        return cls(measured(kspace, axes), scale, peak / scale)


class SlabBatches(Dataset[Batch]):
    """Batches of slabs of one case each, by number, with a new mask or split for each slab.

    Each rank draws its share. A batch holds "samples" (b, coils, z, rows, columns) complex64, "mask", which
    broadcasts to it, "sensitivities" like the samples, "peak" (b,), the maximum of the volume, and
    "to_patient" (b, 3, 4). Supervised training adds "target" (b, z, rows, columns) float32, the root sum of
    squares of all samples. Self-supervision has the entries of `split_slab`, masked pre-training those of
    `masked_slab`.
    """

    def __init__(
        self, cases: list[Path], configuration: ReconstructionConfiguration, seed: int, training: bool
    ) -> None:
        self.cases, self.configuration, self.seed, self.training = cases, configuration, seed, training
        self.axes = configuration.preprocessing.encoded
        batch_size = configuration.training.batch_size
        self.items = share_of(batch_size) if training else range(batch_size)
        self._open = OpenCases()
        self._volumes: dict[Path, WholeVolume] = {}

    def __len__(self) -> int:
        settings = self.configuration.training
        return 2**40 if self.training else -(-settings.validation_crops // settings.batch_size)

    def __getitem__(self, step: int) -> Batch:
        if step >= len(self):
            raise IndexError(step)
        rng = np.random.default_rng([self.seed, step])
        number = rng.integers(len(self.cases)) if self.training else step % len(self.cases)
        file = self.cases[number]
        stored, volume = self._open[file], self._volume(file)
        slabs = [self._slab(stored, volume, [self.seed, step, 1 + item]) for item in self.items]
        return {name: torch.from_numpy(np.stack([slab[name] for slab in slabs])) for name in slabs[0]}

    def _slab(self, stored: StoredCase, volume: WholeVolume, seed: list[int]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        slices, rows = self._place(stored, rng)
        kspace = stored.image[:, slices] / np.float32(volume.scale)
        if self.training and rng.random() < 0.5 and -2 not in self.axes:
            kspace = kspace[:, :, ::-1]  # flipping the readout flips the image and changes no sample
        if (masking := self.configuration.masking) is not None:
            slab = masked_slab(kspace, volume.acquired, rows, self.axes, self._token, masking, rng)
        elif (by_itself := self.configuration.self_supervision) is None:
            slab = undersampled_slab(kspace, self._mask(volume, rng, seed), rows, self.axes)
        else:
            split = self._split(volume, by_itself.withheld, rng)
            slab = split_slab(kspace, volume.acquired, split, rows, self.axes)
        return {
            **slab,
            "peak": np.float32(volume.peak),
            "to_patient": _to_patient(stored, slices, rows),
        }

    @property
    def _token(self) -> Size:
        assert self.configuration.network is not None
        return self.configuration.network.token

    def _mask(self, volume: WholeVolume, rng: np.random.Generator, seed: list[int]) -> np.ndarray:
        settings = self.configuration.sampling
        acceleration = (
            rng.uniform(*settings.accelerations) if self.training else settings.validation_acceleration
        )
        return draw_mask(settings.kind, volume.acquired, float(acceleration), [*seed, 1])

    def _split(self, volume: WholeVolume, withheld: tuple[float, float], rng: np.random.Generator) -> Split:
        low, high = withheld
        share = rng.uniform(low, high) if self.training else (low + high) / 2
        return Split.draw(volume.acquired, float(share), self.configuration.sampling, rng)

    def _place(self, stored: StoredCase, rng: np.random.Generator) -> tuple[slice, slice]:
        z, y, _ = stored.record.shape
        deep, high, _ = self.configuration.training.crop
        deep, high = min(deep, z), y if -2 in self.axes else min(high, y)
        first, top = int(rng.integers(z - deep + 1)), int(rng.integers(y - high + 1))
        return slice(first, first + deep), slice(top, top + high)

    def _volume(self, file: Path) -> WholeVolume:
        if file not in self._volumes:
            self._volumes[file] = WholeVolume.of(self._open[file], self.axes)
        return self._volumes[file]


def undersampled_slab(
    kspace: np.ndarray, mask: np.ndarray, rows: slice, axes: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Input and target of a fully sampled slab; sensitivities come from all rows, before rows are cut."""
    wide = as_mask(mask, axes)
    samples = kspace * wide
    maps = coil_sensitivities(samples, axes, calibration_width(mask))
    truth = root_sum_of_squares(to_image(kspace[:, :, rows], axes))
    return {
        "samples": np.ascontiguousarray(samples[:, :, rows], np.complex64),
        "mask": wide,
        "sensitivities": np.ascontiguousarray(maps[:, :, rows], np.complex64),
        "target": truth.astype(np.float32),
    }


def _to_patient(stored: StoredCase, slices: slice, rows: slice) -> np.ndarray:
    (z, y, _), spacing = stored.record.shape, stored.record.spacing
    away = [(s.start + s.stop - n) / 2 for s, n in ((slices, z), (rows, y))]
    centre_mm = np.array([away[0] * spacing[0], away[1] * spacing[1], 0])
    return crop_to_patient(stored.record.orientation, spacing, centre_mm)


def measurement_of(batch: Batch, axes: tuple[int, ...]) -> Measurement:
    """The measurement of a batch, with its encoded axes."""
    return Measurement(batch["samples"], batch["mask"], batch["sensitivities"], axes)
