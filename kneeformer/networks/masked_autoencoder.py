"""The masked autoencoder (He et al. 2022): from the visible tokens of an image to all of its voxels."""

import torch
from torch import Tensor, nn

from kneeformer.config import MaskingSettings, NetworkSettings
from kneeformer.networks.blocks import TransformerBlock
from kneeformer.networks.positions import AbsolutePositions, RotaryPositions, points_in_patient
from kneeformer.networks.visible import VisibleTokens
from kneeformer.networks.vit import Encoder, Stem


class TokenFiller(nn.Module):
    """A narrow transformer over all tokens that finds the hidden ones; they start from one learnt vector.

    Shapes: encoded visible tokens (batch, n, width) and positions of all (batch, grid, 3) -> all tokens
    (batch, grid, width), the visible ones unchanged.
    """

    def __init__(self, settings: NetworkSettings, masking: MaskingSettings) -> None:
        super().__init__()
        width = masking.filler_width
        heads = next(h for h in (4, 2, 1) if width % (6 * h) == 0)
        self.narrow = nn.Linear(settings.width, width)
        self.hidden = nn.Parameter(torch.zeros(width))
        self.absolute = AbsolutePositions(width)
        self.rotary = RotaryPositions(width // heads, settings.rotary_periods_mm)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, settings.mlp_ratio, 0.0) for _ in range(masking.filler_depth)
        )
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, settings.width)

    def forward(self, encoded: Tensor, positions_mm: Tensor, tokens: VisibleTokens) -> Tensor:
        known = self.narrow(encoded)
        everything = self.hidden.to(known.dtype).expand(*positions_mm.shape[:2], -1)
        everything = everything.scatter(1, _place(tokens, known), known) + self.absolute(positions_mm)
        rotation = self.rotary(positions_mm)
        for block in self.blocks:
            everything = block(everything, rotation)
        found: Tensor = self.widen(self.norm(everything))
        return found.scatter(1, _place(tokens, encoded), encoded.to(found.dtype))


class MaskedAutoencoder(nn.Module):
    """Stem and encoder of the segmentation network on visible tokens alone; then a filler, and a decoder.

    `stem`, `encoder` and `decoder` have the same names and shapes as in HybridTransformer, so their weights
    can be transferred. The decoder adds the stem's features where there are any, at visible tokens.
    """

    def __init__(
        self,
        channels: int,
        settings: NetworkSettings,
        masking: MaskingSettings,
        decoder: nn.Module,
    ) -> None:
        super().__init__()
        self.stem = Stem(channels, settings.stem)
        self.encoder = Encoder(settings)
        self.filler = TokenFiller(settings, masking)
        self.decoder = decoder
        self.token = settings.token

    def forward(self, image: Tensor, to_patient: Tensor, visible: Tensor) -> Tensor:
        """Predicted voxels, visible and hidden, (batch, outputs, z, y, x).

        Args:
            image: (batch, channels, z, y, x), each axis a whole number of tokens; hidden voxels are not read.
            to_patient: (batch, 3, 4), its place in the patient, as `points_in_patient`.
            visible: (batch, z, y, x) bool over the grid of tokens, equally many in each image.
        """
        tokens = VisibleTokens(visible)
        z, y, x = visible.shape[1:]
        positions = points_in_patient((z, y, x), self.token, to_patient)
        seen = positions.gather(1, tokens.index[..., None].expand(-1, -1, 3))
        features = self.stem(image, tokens)
        encoded = self.encoder(features[-1].flatten(2).transpose(1, 2), seen)
        everything = self.filler(encoded, positions, tokens)
        grid = everything.transpose(1, 2).unflatten(2, (z, y, x))
        voxels: Tensor = self.decoder([*features[:-1], grid], tokens)
        return voxels


def _place(tokens: VisibleTokens, features: Tensor) -> Tensor:
    """Indices of visible tokens' features (batch, n, channels) among all tokens, channel by channel."""
    return tokens.index[..., None].expand_as(features)
