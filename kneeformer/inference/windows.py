"""A network over a whole volume: at once where it fits, else through overlapping windows."""

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.networks.compute import Precision, autocast
from kneeformer.plan import InferenceSettings

Size = tuple[int, int, int]


class VolumePredictor:
    """Logits of a volume, averaged over networks (folds) and mirrorings.

    Attributes:
        networks: trained networks of one configuration, on one device, in evaluation mode.
        crop: window size, that of training (z, y, x).
        token: the networks take whole multiples of it.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        outputs: int,
        crop: Size,
        token: Size,
        settings: InferenceSettings,
        precision: Precision = "auto",
    ) -> None:
        self.networks, self.outputs, self.crop, self.token = networks, outputs, crop, token
        self.settings, self.precision = settings, precision
        self.device = next(networks[0].parameters()).device

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """(channels, z, y, x) float32 -> (outputs, z, y, x) float32 on the CPU."""
        size = _size(image)
        padded = _pad(image, self.token)
        tokens = math.prod(n // t for n, t in zip(_size(padded), self.token, strict=True))
        if tokens <= self.settings.whole_volume_tokens:
            logits = self._forward(padded[None])[0].cpu()
        else:
            logits = self._windows(padded)
        return logits[:, : size[0], : size[1], : size[2]]

    def _windows(self, image: Tensor) -> Tensor:
        size = _size(image)
        window = _size_of([min(n, c) for n, c in zip(size, self.crop, strict=True)])
        weight = gaussian_window(window)
        total = torch.zeros((self.outputs, *size))
        weights = torch.zeros(size)
        for z, y, x in window_places(size, window, self.settings.window_overlap):
            logits = self._forward(image[None, :, z, y, x])[0].cpu()
            total[:, z, y, x] += logits * weight
            weights[z, y, x] += weight
        return total.div_(weights)

    def _forward(self, batch: Tensor) -> Tensor:
        """Mean logits over mirrorings and networks, float32, on the device."""
        batch = batch.to(self.device)
        mirrorings = list(subsets(self.settings.mirror_axes))
        total: Tensor | None = None
        for axes in mirrorings:
            dims = [a + 2 for a in axes]
            for network in self.networks:
                with autocast(self.device, self.precision):
                    logits = network(batch.flip(dims) if dims else batch)
                logits = (logits.flip(dims) if dims else logits).float()
                total = logits if total is None else total.add_(logits)
        assert total is not None
        return total.div_(len(mirrorings) * len(self.networks))


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
    """(z, y, x) float32 weights, 1 in the middle, with a deviation of an eighth of each side; never zero."""
    profiles = [
        torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2).clamp(min=1e-3) for n in window
    ]
    return torch.einsum("z,y,x->zyx", *profiles).clamp(min=1e-4)


def _pad(image: Tensor, token: Size) -> Tensor:
    """Repeat the far borders until each side is whole tokens."""
    missing = [-n % t for n, t in zip(_size(image), token, strict=True)]
    if not any(missing):
        return image
    return F.pad(image[None], (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")[0]


def _size(image: Tensor) -> Size:
    return _size_of(image.shape[-3:])


def _size_of(values: Sequence[int]) -> Size:
    z, y, x = values
    return (z, y, x)
