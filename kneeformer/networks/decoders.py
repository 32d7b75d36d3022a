"""From token features back to voxels: the light CNN decoder and the baseline's linear one."""

from collections.abc import Sequence

from torch import Tensor, nn

from kneeformer.config import NetworkSettings, StemStage
from kneeformer.networks.blocks import ConvBlock, Expand, Pointwise, ResidualBlock
from kneeformer.networks.visible import VisibleTokens


class CnnDecoder(nn.Module):
    """Mirrors the stem: expand, add the stem's features of that scale, convolve; then a linear head.

    Shapes: features of each stem stage, finest first -> (batch, outputs, z, y, x).
    """

    def __init__(self, stages: Sequence[StemStage], outputs: int) -> None:
        super().__init__()
        pairs = list(zip(stages[:0:-1], stages[-2::-1], strict=True))  # (coarse, next finer) stage
        self.expand = nn.ModuleList(Expand(c.channels, f.channels, c.stride) for c, f in pairs)
        self.blocks = nn.ModuleList(ResidualBlock(f.channels, f.kernel) for _, f in pairs)
        self.head = _head(stages[0], outputs)

    def forward(self, features: list[Tensor], tokens: VisibleTokens | None = None) -> Tensor:
        """Return (batch, outputs, z, y, x). With `tokens`, skip features are those of visible tokens."""
        merged = features[-1]
        for expand, block, skip in zip(self.expand, self.blocks, features[-2::-1], strict=True):
            expanded = expand(merged)
            merged = block(expanded + skip if tokens is None else tokens.add(expanded, skip))
        output: Tensor = self.head(merged)
        return output


class LinearDecoder(nn.Module):
    """The published baseline: each token is mapped to its voxels by one linear layer; no skips.

    Shapes: as CnnDecoder; only the tokens are used.
    """

    def __init__(self, settings: NetworkSettings, outputs: int) -> None:
        super().__init__()
        self.head = Expand(settings.width, outputs, settings.token)

    def forward(self, features: list[Tensor], tokens: VisibleTokens | None = None) -> Tensor:
        output: Tensor = self.head(features[-1])
        return output


def _head(stage: StemStage, outputs: int) -> nn.Module:
    """Logits from the finest features, which are refined to voxels if the first stage has a stride."""
    if max(stage.stride) == 1:
        return Pointwise(stage.channels, outputs)
    fine = 8
    return nn.Sequential(
        Expand(stage.channels, fine, stage.stride),
        ConvBlock(fine, fine, stage.kernel),
        Pointwise(fine, outputs),
    )


def build_decoder(settings: NetworkSettings, outputs: int) -> nn.Module:
    """The decoder a plan names: "cnn" or "linear"."""
    if settings.decoder == "linear":
        return LinearDecoder(settings, outputs)
    return CnnDecoder(settings.stem, outputs)
