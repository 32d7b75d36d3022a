"""The vision transformer: a convolutional stem that makes tokens, and an encoder over them."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from kneeformer.config import NetworkSettings, StemStage
from kneeformer.networks.blocks import ConvBlock, ResidualBlock, TransformerBlock
from kneeformer.networks.positions import AbsolutePositions, RotaryPositions, points_in_patient
from kneeformer.networks.visible import VisibleTokens


class Stem(nn.Module):
    """Strided convolution blocks from voxels to tokens.

    A stage at full resolution is a single convolution, because a CPU spends most of its time there.

    Shapes: (batch, channels, z, y, x) -> features of each stage, finest first; the last holds the tokens.
    """

    def __init__(self, channels_in: int, stages: Sequence[StemStage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for stage in stages:
            blocks = nn.ModuleList([ConvBlock(channels_in, stage.channels, stage.kernel, stage.stride)])
            if max(stage.stride) > 1:
                blocks.append(ResidualBlock(stage.channels, stage.kernel))
            self.stages.append(blocks)
            channels_in = stage.channels

    def forward(self, image: Tensor, tokens: VisibleTokens | None = None) -> list[Tensor]:
        """Return the features of each stage; with `tokens`, those of visible tokens."""
        features = image if tokens is None else tokens.voxels(image)
        outputs = []
        for stage in self.stages:
            for block in cast(nn.ModuleList, stage):
                features = block(features, tokens)
            outputs.append(features)
        return outputs


class Encoder(nn.Module):
    """Transformer blocks over tokens at positions in mm; any subset of a volume's tokens may be given."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        drop = torch.linspace(0, settings.drop_path, settings.depth, device="cpu").tolist()
        self.rotary = RotaryPositions(settings.width // settings.heads, settings.rotary_periods_mm)
        self.absolute = AbsolutePositions(settings.width)
        self.blocks = nn.ModuleList(
            TransformerBlock(settings.width, settings.heads, settings.mlp_ratio, d) for d in drop
        )
        self.norm = nn.LayerNorm(settings.width)

    def forward(self, tokens: Tensor, positions_mm: Tensor) -> Tensor:
        """tokens (batch, n, width) at (batch or 1, n, 3) mm from the volume's centre -> (batch, n, width)."""
        tokens = tokens + self.absolute(positions_mm)
        rotation = self.rotary(positions_mm)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        normed: Tensor = self.norm(tokens)
        return normed


class HybridTransformer(nn.Module):
    """Stem, encoder and decoder: from an image to a dense output.

    Shapes: (batch, channels, z, y, x), each axis a whole number of tokens -> (batch, outputs, z, y, x).

    Args:
        strip: tokens along y that attend to each other, at most; taller images are encoded strip by strip.
            None lets all attend to all.
    """

    def __init__(
        self,
        channels_in: int,
        settings: NetworkSettings,
        decoder: nn.Module,
        strip: int | None = None,
    ) -> None:
        super().__init__()
        self.strip = strip
        self.stem = Stem(channels_in, settings.stem)
        self.encoder = Encoder(settings)
        self.decoder = decoder
        self.token = settings.token

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        """Image as above; to_patient (batch, 3, 4): its place in the patient, as `points_in_patient`."""
        features = self.stem(image)
        z, y, x = features[-1].shape[2:]
        points = points_in_patient((z, y, x), self.token, to_patient).view(-1, z, y, x, 3)
        strips = -(-y // (self.strip or y))
        cut = features[-1].tensor_split(strips, 3), points.tensor_split(strips, 2)
        taller = y % strips  # strips with one row more, which come first; equal ones are one batch
        equal = [slice(None, taller), slice(taller, None)] if taller else [slice(None)]
        features[-1] = torch.cat([self._side_by_side(*(parts[some] for parts in cut)) for some in equal], 3)
        output: Tensor = self.decoder(features)
        return output

    def _side_by_side(self, tokens: tuple[Tensor, ...], points: tuple[Tensor, ...]) -> Tensor:
        """Strips of one size, each encoded alone, one below the other."""
        return torch.cat(self._encoded(torch.cat(tokens), torch.cat(points)).chunk(len(tokens)), 3)

    def _encoded(self, tokens: Tensor, points: Tensor) -> Tensor:
        """(batch, width, z, y, x) tokens at (batch, z, y, x, 3) mm -> the same shape."""
        encoded: Tensor = self.encoder(tokens.flatten(2).transpose(1, 2), points.flatten(1, 3))
        return encoded.transpose(1, 2).reshape(tokens.shape)
