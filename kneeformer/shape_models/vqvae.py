"""The vector-quantised autoencoder of bones (van den Oord et al. 2017)."""

import math
import warnings

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.shape_models.convolutional import ConvolutionalAutoencoder
from kneeformer.shape_models.priors import Guess
from kneeformer.shape_models.settings import PriorSettings

_DECAY = 0.99
_COMMITMENT = 0.25
_DEAD = 0.5  # mean vectors per step below which a code is replaced
_WARM_STEPS = 200  # from half to full quantisation of the code
_ROUNDS = 20  # of k-means
_CHUNK = 16384


class Codebook(nn.Module):
    """Codes that follow the vectors they stand for, by moving averages (the paper's appendix A.1).

    Attributes:
        codes: (codes, channels).
        counts: (codes,) moving average of vectors per step of each code.
        sums: (codes, channels) moving average of the sums of those vectors.
        share: (), degree to which vectors are replaced by codes: from 0.5 to 1 over the first steps.
        perplexity: (), of the codes' use in the last step: the equivalent number of equally used codes.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    share: Tensor
    perplexity: Tensor

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(codes, channels))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", torch.zeros(codes, channels))
        self.register_buffer("share", torch.tensor(0.5))
        self.register_buffer("perplexity", torch.zeros(()))

    def start(self, vectors: Tensor) -> None:
        """Begin with the k-means of (n, channels)."""
        self.codes.copy_(k_means(vectors, len(self.codes)))
        self.sums.copy_(self.codes)
        self.counts.fill_(1)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, channels) -> (n, channels) moved towards their codes; gradients pass unchanged."""
        return vectors + self.share * (self.nearest(vectors) - vectors).detach()

    def nearest(self, vectors: Tensor) -> Tensor:
        """(n, channels): the code of each vector."""
        return self.codes[nearest(vectors, self.codes)]

    @torch.no_grad()
    def follow(self, vectors: Tensor) -> None:
        """Update the moving averages; a code without vectors becomes a random vector."""
        owner = nearest(vectors, self.codes)
        use = torch.bincount(owner, minlength=len(self.codes)).to(vectors.dtype)
        self.counts.lerp_(use, 1 - _DECAY)
        self.sums.lerp_(_sums(vectors, owner, self.codes), 1 - _DECAY)
        dead = torch.nonzero(self.counts < _DEAD)[:, 0]
        chosen = torch.randint(len(vectors), (len(dead),), device=vectors.device)
        self.counts[dead], self.sums[dead] = 1.0, vectors[chosen]
        self.codes.copy_(self.sums / self.counts[:, None])
        self.share.add_(0.5 / _WARM_STEPS).clamp_(max=1)
        self.perplexity.copy_(perplexity(use / len(vectors)))


class VqVae(ConvolutionalAutoencoder):
    """A prior whose code is quantised by a codebook; the encoder learns to stay near the codes."""

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings) -> None:
        code = settings.code
        super().__init__(grid, spacing, settings, code.latent_channels)
        self.codebook = Codebook(code.codes, code.latent_channels)

    @torch.no_grad()
    def fit(self, bones: Tensor) -> None:
        """Fit as other priors, and start the codebook by k-means of the encoded bones."""
        super().fit(bones)
        known = torch.ones_like(bones[:1, 0], dtype=torch.bool)
        encoded = torch.cat([self.encoded(bone[None], known) for bone in bones])
        self.codebook.start(_vectors(encoded))

    def coded(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        vectors = _vectors(encoded)
        cost = _COMMITMENT * F.mse_loss(vectors, self.codebook.nearest(vectors))
        if self.code.entropy_weight:
            cost = cost + self.code.entropy_weight * unused(vectors, self.codebook.codes.clone())
        code = _unfolded(self.codebook(vectors), encoded)
        if self.training:
            self.codebook.follow(vectors.detach())
        return code, cost

    @torch.no_grad()
    def use(self, bones: Tensor, known: Tensor) -> Tensor:
        """(codes,) int64: number of vectors of bones (batch, 2, z, y, x) for each code."""
        vectors = _vectors(self.encoded(bones, known))
        codes = self.codebook.codes
        return torch.bincount(nearest(vectors, codes), minlength=len(codes))

    @torch.no_grad()
    def complete(self, image: Tensor, known: Tensor) -> Guess:
        encoded = self.encoded(image[None], known[None])
        return Guess(self.decoded(_unfolded(self.codebook(_vectors(encoded)), encoded))[0])


def nearest(vectors: Tensor, codes: Tensor) -> Tensor:
    """(n,) index of the nearest code (k, channels) for each of (n, channels)."""
    return torch.cat([torch.cdist(chunk, codes).argmin(1) for chunk in torch.split(vectors, _CHUNK)])


def perplexity(use: Tensor) -> Tensor:
    """exp of the entropy of shares (k,) that sum to 1: k if all are equal, 1 if one is everything."""
    return _entropy(use).exp()


def unused(vectors: Tensor, codes: Tensor) -> Tensor:
    """Nats between the mean soft assignment of vectors and uniform use of the codes; 0 or more."""
    use = (-torch.cdist(vectors, codes).square()).softmax(1).mean(0)
    return math.log(len(codes)) - _entropy(use)


def k_means(vectors: Tensor, count: int) -> Tensor:
    """(count, channels) means of clusters of (n, channels), by Lloyd's algorithm with a fixed seed.

    Clusters begin at distinct vectors, or share some if there are fewer than `count`.
    """
    distinct = np.unique(vectors.cpu().numpy(), axis=0)
    chosen = np.resize(np.random.default_rng(0).permutation(len(distinct)), count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about empty clusters, which `follow` restarts
        means, _ = kmeans2(distinct, distinct[chosen], _ROUNDS, minit="matrix")
    return torch.from_numpy(means).to(vectors)


def _entropy(shares: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy


def _sums(vectors: Tensor, owner: Tensor, codes: Tensor) -> Tensor:
    """(k, channels) sums of the vectors (n, channels) of each code."""
    return torch.zeros_like(codes).index_add_(0, owner, vectors)


def _vectors(encoded: Tensor) -> Tensor:
    """(batch, channels, z, y, x) -> (batch * z * y * x, channels) float32."""
    return encoded.movedim(1, -1).flatten(0, -2).float()


def _unfolded(vectors: Tensor, like: Tensor) -> Tensor:
    """Undo `_vectors`, to the shape of `like`."""
    batch, _, z, y, x = like.shape
    return vectors.view(batch, z, y, x, -1).movedim(-1, 1)
