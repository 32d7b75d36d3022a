"""The masked vision transformer of pre-training (He et al. 2022) as a prior of bones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.config import MaskingSettings, NetworkSettings, StemStage
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.decoders import CnnDecoder
from kneeformer.networks.masked_autoencoder import MaskedAutoencoder
from kneeformer.shape_models.autoencoders import REDUCTION, Autoencoder
from kneeformer.shape_models.priors import Guess
from kneeformer.shape_models.settings import CodeSettings, PriorSettings


class VitPrior(Autoencoder):
    """A masked autoencoder of bones: the encoder sees the tokens (8 x 8 x 8 voxels) with any known voxel.

    The filler predicts the others. Unknown voxels of a visible token are 0, as for other autoencoders.
    """

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings) -> None:
        super().__init__(grid, spacing, settings)
        network = transformer(settings.code)
        decoder = CnnDecoder(network.stem, outputs=2)
        _begin_at_zero(decoder)
        self.network = MaskedAutoencoder(3, network, MaskingSettings(), decoder)

    def autoencoded(self, bones: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        at_once = len(bones) if self.training else 1  # a single bone keeps all of its tokens
        pairs = zip(torch.split(bones, at_once), torch.split(known, at_once), strict=True)
        return torch.cat([self._found(*pair) for pair in pairs]), bones.new_zeros(())

    def _found(self, bones: Tensor, known: Tensor) -> Tensor:
        """(batch, 2, z, y, x) whole bones, from an equal number of tokens of each."""
        visible = equally_many(F.max_pool3d(known[:, None].float(), REDUCTION)[:, 0] > 0)
        in_mm = torch.diag(torch.tensor(self.spacing, device=bones.device))
        to_patient = F.pad(in_mm, (0, 1)).expand(len(bones), -1, -1)
        away = self.network(self.shown(bones, known), to_patient, visible)
        return self.as_bones(away)

    @torch.no_grad()
    def complete(self, image: Tensor, known: Tensor) -> Guess:
        bones, _ = self.autoencoded(image[None], known[None])
        return Guess(bones[0])


def equally_many(visible: Tensor) -> Tensor:
    """Random visible tokens of each image, as many as the image with the fewest has.

    A single image keeps all of its own. If nothing is visible, one token without known voxels is kept.

    Shapes: (batch, z, y, x) bool -> the same.
    """
    tokens = visible.flatten(1)
    count = max(1, int(tokens.sum(1).min()))
    chosen = (torch.rand(tokens.shape, device=tokens.device) + tokens).topk(count, 1).indices
    return torch.zeros_like(tokens).scatter(1, chosen, True).view_as(visible)


def transformer(code: CodeSettings) -> NetworkSettings:
    """Network settings: three strided convolutions, as in other autoencoders, and `depth` blocks."""
    width = 6 * code.width
    channels = (code.width, 2 * code.width, width)
    return NetworkSettings(
        stem=tuple(StemStage(channels=n, stride=(2, 2, 2), kernel=(3, 3, 3)) for n in channels),
        width=width,
        depth=code.depth,
        heads=next(heads for heads in (4, 2, 1) if code.width % heads == 0),
        drop_path=0.0,
    )


def _begin_at_zero(decoder: CnnDecoder) -> None:
    """Initialise the output at zero."""
    *_, last = decoder.head.modules()
    assert isinstance(last, nn.Conv3d)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
