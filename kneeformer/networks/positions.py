"""Positions of tokens in millimetres: rotary for attention, and absolute for the position in the volume."""

import math

import torch
from torch import Tensor, nn

from kneeformer.geometry.aliases import Size, Spacing


def points_from_middle(shape: Size, spacing: Spacing, device: torch.device | None = None) -> Tensor:
    """Centres of the voxels, or of the tokens, of a grid, in mm from its own middle.

    Args:
        shape: voxels along (z, y, x).
        spacing: mm along (z, y, x).

    Returns:
        (z * y * x, 3) float32, in the order of `flatten` over (z, y, x).
    """
    axes = [(torch.arange(n, device=device) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def points_in_patient(shape: Size, token: Size, to_patient: Tensor) -> Tensor:
    """Centres of a crop's tokens in mm from the middle of the whole volume, along the patient's axes.

    Args:
        shape: tokens along (z, y, x).
        token: voxels along (z, y, x).
        to_patient: (batch, 3, 4) float32, as kneeformer.geometry.orientation.crop_to_patient returns it.

    Returns:
        (batch, z * y * x, 3) float32, patient (x, y, z).
    """
    points = points_from_middle(shape, token, to_patient.device)  # in voxels
    directions, middle = to_patient[:, None, :, :3], to_patient[:, None, :, 3]
    return (points[:, None] * directions).sum(-1) + middle  # a matrix product might be in half precision


class RotaryPositions(nn.Module):
    """Axial rotary embedding (Su et al. 2021) with periods in mm: attention sees distances, not indices.

    Each axis has a third of a head's channels; its pairs turn with periods spread geometrically between
    the two given.
    """

    frequencies: Tensor

    def __init__(self, head_width: int, periods_mm: tuple[float, float]) -> None:
        super().__init__()
        pairs = head_width // 6
        steps = torch.linspace(0, 1, pairs, device="cpu") if pairs > 1 else torch.zeros(1, device="cpu")
        shortest, longest = periods_mm
        periods = shortest * (longest / shortest) ** steps
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    def forward(self, positions_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for tokens at (batch or 1, n, 3): each (batch or 1, 1, n, head_width / 2)."""
        angles = positions_mm[..., None] * self.frequencies
        angles = angles.flatten(-2).unsqueeze(1)
        return angles.cos(), angles.sin()


class AbsolutePositions(nn.Module):
    """Embedding of a token's position in the volume, to be added to it: sines and cosines, linearly mapped.

    A femur lies above a tibia in every knee scan; a crop alone does not show which of them it holds.
    """

    frequencies: Tensor

    def __init__(self, width: int, periods_mm: tuple[float, float] = (64.0, 1024.0), waves: int = 6) -> None:
        super().__init__()
        shortest, longest = periods_mm
        periods = shortest * (longest / shortest) ** torch.linspace(0, 1, waves, device="cpu")
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)
        self.linear = nn.Linear(3 * 2 * waves, width)

    def forward(self, positions_mm: Tensor) -> Tensor:
        """(batch or 1, n, 3) mm from the volume's centre -> (batch or 1, n, width)."""
        angles = (positions_mm[..., None] * self.frequencies).flatten(-2)
        features: Tensor = self.linear(torch.cat((angles.sin(), angles.cos()), -1))
        return features


def rotate(features: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of channels by their angles; (batch, heads, n, head_width) in and out, dtype kept."""
    cosine, sine = (part.to(features.dtype) for part in rotation)
    first, second = features.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)
