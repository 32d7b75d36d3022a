"""Training batches of items drawn by their numbers: step 7 is the same batch in any process, at any time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from torch.utils.data import Dataset

from kneeformer.config import CropConfiguration, MaskingSettings, TrainingSettings
from kneeformer.data.open_cases import OpenCases
from kneeformer.data.storage import CaseRecord, StoredCase
from kneeformer.engine.batch import Batch
from kneeformer.engine.losses import IGNORE_INDEX
from kneeformer.geometry.aliases import Size
from kneeformer.geometry.orientation import crop_to_patient
from kneeformer.labels import LabelScheme
from kneeformer.networks.ranks import share_of
from kneeformer.transforms.augmentation import UNCHANGED, Augmentation
from kneeformer.transforms.token_masking import draw_visible


@dataclass(frozen=True)
class Crop:
    """Image and labels, (channels or 1, z, y, x), and the crop's place in its patient, (3, 4)."""

    image: np.ndarray
    labels: np.ndarray
    to_patient: np.ndarray


class CropBatches(Dataset[Batch]):
    """Batches of random crops: "image" (b, c, z, y, x) float32, "labels" (b, z, y, x) int16, or int32
    where there are labels above 32767, and "to_patient" (b, 3, 4) float32, the place of each in its patient.

    The last `foreground_share` of a batch is centred on a random voxel of a random structure of its case,
    the rest anywhere. Voxels outside the volume repeat its border and are labelled IGNORE_INDEX.

    A volume that fits into the crop lies anywhere in it, so that tokens cut it at varying places.

    Attributes:
        cases: stored cases, each as folder / name.
        scheme: None reads no labels: everything inside a volume is 0.
        items: numbers of those in the whole batch that are drawn, by default all.
        labels: folder of labels to use instead of the cases' own; by default none.
        token: voxels of a token. Volumes no longer than the crop, or by less than a token, have at least so
            many places in it, for which up to half a token may be cut off.
    """

    def __init__(
        self,
        cases: list[Path],
        settings: TrainingSettings,
        scheme: LabelScheme | None,
        augmentation: Augmentation,
        seed: int,
        length: int,
        items: range | None = None,
        labels: Path | None = None,
        token: Size = (1, 1, 1),
    ) -> None:
        self.items = range(settings.batch_size) if items is None else items
        self.cases, self.settings, self.scheme = cases, settings, scheme
        self.augmentation, self.seed, self.length, self.token = augmentation, seed, length, np.array(token)
        self._open = OpenCases(labels=labels)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> Batch:
        if step >= self.length:
            raise IndexError(step)
        return self.part(step, self.items)

    def part(self, step: int, items: range) -> Batch:
        """So many items of a whole batch, by their numbers."""
        batch_rng = np.random.default_rng([self.seed, step])
        mix = self.augmentation.draw_mix(batch_rng, self.settings.batch_size, self.settings.crop)
        crops = {item: self._item(step, item) for item in mix.needed(items)}
        labels = mix.apply({item: crop.labels for item, crop in crops.items()}, items)
        return {
            "image": torch.from_numpy(mix.apply({i: c.image for i, c in crops.items()}, items)),
            "labels": torch.from_numpy(labels[:, 0]),
            "to_patient": torch.from_numpy(np.stack([crops[item].to_patient for item in items])),
        }

    def _item(self, step: int, item: int) -> Crop:
        rng = np.random.default_rng([self.seed, step, 1 + item])  # the same in every rank
        size = self.settings.batch_size
        first_aimed = round(size * (1 - self.settings.foreground_share))
        case = self._open[self.cases[rng.integers(len(self.cases))]]
        draw = self.augmentation.draw(rng, self.settings.crop, case.record.orientation)
        centre = self._centre(rng, case, aimed=item >= first_aimed)
        image = read_region(case.image, centre, draw.region)
        labels = self._labels(case, centre, draw.region)
        position = self.augmentation.position(draw, centre_mm(centre, case.record), rng)
        to_patient = crop_to_patient(case.record.orientation, case.record.spacing, position)
        return Crop(*self.augmentation.apply(draw, image, labels, rng, IGNORE_INDEX), to_patient)

    def _centre(self, rng: np.random.Generator, case: StoredCase, aimed: bool) -> Size:
        """Centre voxel of a crop: near a wanted voxel along axes longer than the crop, else anywhere."""
        shape, crop = case.record.shape, self.settings.crop
        structures = [points for points in case.record.points.values() if points]
        if aimed and structures:
            points = structures[rng.integers(len(structures))]
            wanted = np.array(points[rng.integers(len(points))])
        else:
            wanted = rng.integers(0, shape)
        lowest, highest = _bounds(shape, crop)
        beyond = np.maximum(self.token - 1 - (highest - lowest), 0) // 2
        around = rng.integers(lowest - beyond, highest + beyond + 1)
        seen_whole = np.less(shape, np.add(crop, self.token))
        z, y, x = np.where(seen_whole, around, inside_centre(wanted, shape, crop)).tolist()
        return z, y, x

    def _labels(self, case: StoredCase, centre: Size, region: Size) -> np.ndarray:
        if self.scheme is None or case.labels is None:
            return blank_region(case, centre, region, 0 if self.scheme is None else IGNORE_INDEX)
        labels = read_region(case.labels, centre, region, outside=IGNORE_INDEX)
        if self.scheme.ignore is not None:
            labels[labels == self.scheme.ignore] = IGNORE_INDEX
        return labels


def crop_batches(
    cases: list[Path],
    scheme: LabelScheme | None,
    configuration: CropConfiguration,
    seed: int,
    training: bool,
    labels: Path | None = None,
) -> CropBatches:
    """The crops of a configuration: augmented and endless for training, or the few for validation.

    Each rank draws its share of a training batch.

    Args:
        labels: as in CropBatches.
    """
    settings, grid = configuration.training, configuration.preprocessing
    changes = configuration.augmentation if training else UNCHANGED
    augmentation = Augmentation(changes, grid.spacing, grid.thick_axis)
    length = 2**40 if training else -(-settings.validation_crops // settings.batch_size)
    items = share_of(settings.batch_size) if training else None
    token = configuration.network.token if training else (1, 1, 1)
    return CropBatches(cases, settings, scheme, augmentation, seed, length, items, labels, token)


def read_region(array: Any, centre: Size, size: Size, outside: int | None = None) -> np.ndarray:
    """(channels, *size) around a voxel, of an array (channels, z, y, x) or (z, y, x), stored or in memory.

    Args:
        outside: value beyond the array, negative: the result is then int16, or int32 where the array holds
            more than that; None repeats the border.
    """
    box = [[c - s // 2, c - s // 2 + s] for c, s in zip(centre, size, strict=True)]
    if outside is None:
        region = crop_and_pad_nd(array, box, pad_mode="edge")
    else:
        region = crop_and_pad_nd(
            array, box, pad_value=outside, cast_cropped_to=np.result_type(array.dtype, np.int16)
        )
    return np.asarray(region if region.ndim == 4 else region[None])


def blank_region(case: StoredCase, centre: Size, size: Size, inside: int) -> np.ndarray:
    """Labels (1, *size) int16 of a region of a case without any: `inside` its volume, IGNORE_INDEX beyond."""
    blank = np.broadcast_to(np.int16(inside), case.record.shape)
    return np.array(read_region(blank, centre, size, outside=IGNORE_INDEX))


def centre_mm(centre: Size, record: CaseRecord) -> np.ndarray:
    """(3,) mm from the middle of a case's volume to the voxel at `centre`."""
    return (np.array(centre) - np.array(record.shape) / 2) * record.spacing


def inside_centre(wanted: np.ndarray, shape: Size, crop: Size) -> Size:
    """The centre nearest to `wanted` at which a crop of an array of `shape` has the least outside it."""
    z, y, x = np.clip(wanted, *_bounds(shape, crop)).tolist()
    return z, y, x


def _bounds(shape: Size, crop: Size) -> tuple[np.ndarray, np.ndarray]:
    """(3,) lowest and (3,) highest centre of a crop inside an array, or around it where it is larger."""
    begins = np.array(crop) // 2
    ends = begins + shape - np.array(crop)
    return np.minimum(begins, ends), np.maximum(begins, ends)


class MaskedBatches(Dataset[Batch]):
    """The batches of `crops`, each with "visible", (b, z, y, x) bool over the grid of tokens."""

    def __init__(
        self, crops: CropBatches, token: Size, masking: MaskingSettings, thick_axis: int | None = None
    ) -> None:
        self.crops, self.masking, self.thick_axis = crops, masking, thick_axis
        z, y, x = (n // t for n, t in zip(crops.settings.crop, token, strict=True))
        self.grid = (z, y, x)

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, step: int) -> Batch:
        batch = self.crops[step]
        rngs = [np.random.default_rng([self.crops.seed, step, 1 + item, 1]) for item in self.crops.items]
        drawn = [draw_visible(rng, self.grid, self.masking, self.thick_axis) for rng in rngs]
        return {**batch, "visible": torch.from_numpy(np.stack(drawn))}
