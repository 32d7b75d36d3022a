"""A network applied to a whole volume: at once if it fits, otherwise in overlapping windows."""

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.config import CropConfiguration
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.orientation import array_axes, crop_to_patient
from kneeformer.networks.compute import autocast


class VolumePredictor:
    """Logits of a volume, averaged over networks (folds) and mirrorings.

    Attributes:
        networks: trained networks of one configuration, on one device, in evaluation mode.
        outputs: channels of their output.
    """

    def __init__(self, networks: Sequence[nn.Module], outputs: int, configuration: CropConfiguration) -> None:
        self.networks, self.outputs, self.configuration = networks, outputs, configuration
        self.device = next(networks[0].parameters()).device

    @torch.inference_mode()
    def __call__(self, image: Tensor, orientation: str, spacing: Spacing) -> Tensor:
        """(channels, z, y, x) float32 -> (outputs, z, y, x) float32 on the CPU.

        Args:
            orientation: directions of the axes (z, y, x) in the patient, such as "SPL".
            spacing: mm along them.
        """
        token = self.configuration.network.token
        padded, (z, y, x) = _pad(image, token)
        tokens = math.prod(n // t for n, t in zip(_size(padded), token, strict=True))
        if tokens <= self.configuration.inference.whole_volume_tokens:
            logits = self._forward(padded, orientation, spacing, (0.0, 0.0, 0.0))
        else:
            logits = self._windows(padded, orientation, spacing)
        return logits[:, z, y, x]

    def _windows(self, image: Tensor, orientation: str, spacing: Spacing) -> Tensor:
        size = _size(image)
        window = _size_of([min(n, c) for n, c in zip(size, self.configuration.training.crop, strict=True)])
        weight = gaussian_window(window)
        total = torch.zeros((self.outputs, *size))
        weights = torch.zeros(size)
        for place in window_places(size, window, self.configuration.inference.window_overlap):
            z, y, x = place
            centre = [
                ((p.start + p.stop) / 2 - n / 2) * mm for p, n, mm in zip(place, size, spacing, strict=True)
            ]
            total[:, z, y, x] += self._forward(image[:, z, y, x], orientation, spacing, centre) * weight
            weights[z, y, x] += weight
        return total.div_(weights)

    def _forward(
        self, image: Tensor, orientation: str, spacing: Spacing, centre_mm: Sequence[float]
    ) -> Tensor:
        """Mean logits over mirrorings and networks, of an image at a position in its volume."""
        image = image[None].to(self.device)
        mirrorings = list(subsets(array_axes(orientation, self.configuration.inference.mirror_axes)))
        total: Tensor | None = None
        for axes in mirrorings:
            dims = [a + 2 for a in axes]
            place = [-mm if axis in axes else mm for axis, mm in enumerate(centre_mm)]
            matrix = crop_to_patient(orientation, spacing, np.array(place))
            to_patient = torch.from_numpy(matrix)[None].to(self.device)
            for network in self.networks:
                with autocast(self.device, self.configuration.training.precision):
                    logits = network(image.flip(dims) if dims else image, to_patient)
                logits = (logits.flip(dims) if dims else logits).float()
                total = logits if total is None else total.add_(logits)
        assert total is not None
        return total.div_(len(mirrorings) * len(self.networks))[0].cpu()


def subsets(axes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every set of axes to mirror, the empty one first: 2 ** len(axes) of them."""
    return itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(len(axes) + 1))


def window_places(size: Size, window: Size, overlap: float) -> Iterator[tuple[slice, slice, slice]]:
    """Windows that cover a volume evenly, neighbours sharing at least `overlap` of their length."""
    starts = []
    for n, w in zip(size, window, strict=True):
        stride = max(1, round(w * (1 - overlap)))
        count = -(-(n - w) // stride) + 1
        starts.append([round(i * (n - w) / max(1, count - 1)) for i in range(count)])
    for z, y, x in itertools.product(*starts):
        yield slice(z, z + window[0]), slice(y, y + window[1]), slice(x, x + window[2])


@lru_cache(maxsize=4)
def gaussian_window(window: Size) -> Tensor:
    """(z, y, x) float32 weights, 1 in the middle, of standard deviation 1/8 of each side; never zero."""
    profiles = [
        torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2).clamp(min=1e-3) for n in window
    ]
    return torch.einsum("z,y,x->zyx", *profiles).clamp(min=1e-4)


def _pad(image: Tensor, token: Size) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Pad evenly by repeated borders to whole tokens; also return the slices of the image in the result."""
    missing = [-n % t for n, t in zip(_size(image), token, strict=True)]
    sides = [(m // 2, m - m // 2) for m in missing]
    z, y, x = (slice(first, first + n) for (first, _), n in zip(sides, _size(image), strict=True))
    if any(missing):
        image = F.pad(image[None], [*sides[2], *sides[1], *sides[0]], mode="replicate")[0]
    return image, (z, y, x)


def _size(image: Tensor) -> Size:
    return _size_of(image.shape[-3:])


def _size_of(values: Sequence[int]) -> Size:
    z, y, x = values
    return (z, y, x)
