"""The search that spends a machine on a dataset: encoder, tokens, crop and batch are chosen together.

The encoder follows from the number of cases and the compute. Then the search finds the crop that sees most of
the volume, among several token sizes and along a path of growing crops; remaining memory and time go into the
batch and into finer tokens. All machines search the same sets, so more memory never sees less.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

from kneeformer.config import Limit, NetworkSettings
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.planning.budget import Budget
from kneeformer.planning.rules import crop_share, stem_stages
from kneeformer.planning.step_cost import StepCost, step_cost

ENCODERS = ((192, 6), (288, 8), (384, 12), (576, 12), (768, 12), (864, 16))  # width, depth; heads of 48
_PER_ROOT_OF_CASES = 4e6  # parameters of the blocks: 21 million (384 x 12) from 29 cases on
_PER_ROOT_OF_COMPUTE = 3e6  # parameters of the blocks; compute in hours of two cores
_LARGEST_TOKEN = 16  # voxels along an axis
_FEWEST_TOKENS = 256  # of a whole volume, where its voxels allow
_FEWEST_OF_A_CROP, _MOST_TOKENS = 128, 16384
_SMALLEST_EDGE = 4  # voxels of the finest axis
_EXTRAS = 0.25  # part of the longest step for a batch of more than two crops, or for finer tokens
_LARGEST_BATCH = 16


@dataclass(frozen=True)
class Spent:
    """The network, crop and batch of a training.

    Attributes:
        crop: voxels, whole tokens along each axis.
        limit: why a crop does not see more.
        cost: cost of a step, as a function of batch and crop.
    """

    network: NetworkSettings
    crop: Size
    batch: int
    limit: Limit
    cost: StepCost

    @property
    def tokens(self) -> int:
        """Number of tokens of a crop."""
        return math.prod(self.crop) // math.prod(self.network.token)


def spend(shape: Size, spacing: Spacing, cases: int, channels: int, outputs: int, budget: Budget) -> Spent:
    """Encoder, tokens, crop and batch for volumes of a shape and a spacing in mm, (z, y, x).

    A GPU gets the plan of a CPU with the same memory if that sees more: with little memory, a CPU's smaller
    encoder leaves room for larger crops.

    Args:
        cases: number of training cases.
        channels: of an image.
        outputs: classes or regions that are predicted.
    """
    spent = _spend(shape, spacing, cases, channels, outputs, budget)
    if budget.is_cpu:
        return spent
    cpu = Budget("cpu", budget.memory_gb, bfloat16=budget.bfloat16)
    smaller = _spend(shape, spacing, cases, channels, outputs, cpu)
    if crop_share(smaller.crop, shape) <= crop_share(spent.crop, shape):
        return spent
    return replace(smaller, limit="volume" if smaller.limit == "volume" else "memory")


def _spend(shape: Size, spacing: Spacing, cases: int, channels: int, outputs: int, budget: Budget) -> Spent:
    candidates = [
        _Candidate(token, network, step_cost(network, channels, outputs, budget.bfloat16), budget)
        for token in token_sizes(shape, spacing)
        for network in [transformer(spacing, token, cases, budget)]
    ]
    crops = [(c, c.largest_crop(shape, spacing)) for c in candidates]
    enough = [(c, crop) for c, crop in crops if c.tokens(crop) >= _FEWEST_OF_A_CROP]
    best, crop = max([*enough, crops[-1]], key=lambda found: crop_share(found[1], shape))
    limit = best.limit(crop, shape)
    batch = best.batch(crop, cases)
    finer = [c for c in candidates if c.is_finer(best) and c.is_extra(batch, crop)]
    best = (best, *finer)[-1]
    if finer:
        crop = best.trimmed(crop, shape)
    return Spent(best.network, crop, batch, limit, best.cost)


@dataclass(frozen=True)
class _Candidate:
    """A network with tokens of one size, on one machine."""

    token: Size
    network: NetworkSettings
    cost: StepCost
    budget: Budget

    def tokens(self, crop: Size) -> int:
        return math.prod(crop) // math.prod(self.token)

    def is_finer(self, other: "_Candidate") -> bool:
        return self.token != other.token and all(a <= b for a, b in zip(self.token, other.token, strict=True))

    def trimmed(self, crop: Size, shape: Size) -> Size:
        """A crop made for coarser tokens, without its part outside the volume."""
        z, y, x = (min(c, t * math.ceil(n / t)) for c, n, t in zip(crop, shape, self.token, strict=True))
        return (z, y, x)

    def fits(self, batch: int, crop: Size) -> bool:
        """True where a step fits the memory and the limit of tokens."""
        tokens = self.tokens(crop)
        memory = self.cost.memory_gb(batch, math.prod(crop), tokens)
        return tokens <= _MOST_TOKENS and memory <= self.budget.memory_gb

    def share_of_longest(self, batch: int, crop: Size) -> float:
        """Time of a step as a share of the longest allowed one."""
        seconds = self.cost.seconds(batch, math.prod(crop), self.tokens(crop)) / self.budget.speed
        return seconds / self.budget.longest_step

    def is_extra(self, batch: int, crop: Size) -> bool:
        """True where a step takes at most _EXTRAS of the longest time; beyond that, more steps are better."""
        return self.fits(batch, crop) and self.share_of_longest(batch, crop) <= _EXTRAS

    def largest_crop(self, shape: Size, spacing: Spacing) -> Size:
        """The last crop of the path of which one fits the memory and two the time; else the first."""
        path = _path(shape, spacing, self.token)
        fitting = bisect_left(
            path, True, key=lambda crop: not self.fits(1, crop) or self.share_of_longest(2, crop) > 1
        )
        return path[max(0, fitting - 1)]

    def limit(self, crop: Size, shape: Size) -> Limit:
        """The limit that keeps the largest crop from being larger."""
        if crop_share(crop, shape) == 1:
            return "volume"
        more = self.cost.memory_gb(1, *(round(1.1 * n) for n in (math.prod(crop), self.tokens(crop))))
        if more > self.budget.memory_gb:
            return "memory"
        return "tokens" if 1.1 * self.tokens(crop) > _MOST_TOKENS else "time"

    def batch(self, crop: Size, cases: int) -> int:
        """Two crops if the memory holds them; more, up to 16 and the number of cases, if they are cheap."""
        if not self.fits(2, crop):
            return 1
        more = range(3, min(_LARGEST_BATCH, cases) + 1)
        return max((2, *(n for n in more if self.is_extra(n, crop))))


def transformer(spacing: Spacing, token: Size, cases: int, budget: Budget) -> NetworkSettings:
    """The largest encoder that cases and compute allow, with a stem that starts at a twelfth of its width."""
    parameters = min(_PER_ROOT_OF_CASES * math.sqrt(cases), _PER_ROOT_OF_COMPUTE * math.sqrt(budget.compute))
    width, depth = ENCODERS[0]
    for wider, deeper in ENCODERS:
        if 12 * deeper * wider**2 <= parameters:
            width, depth = wider, deeper
    return NetworkSettings(
        stem=stem_stages(spacing, token, width, min(32, width // 12)),
        width=width,
        depth=depth,
        heads=width // 48,
        drop_path=min(0.2, round(depth / 60, 2)),
    )


def token_sizes(shape: Size, spacing: Spacing) -> list[Size]:
    """Token sizes in voxels, powers of two as close to a cube in mm as possible, coarsest first.

    The edge falls by sixth roots of two: from 256 tokens per volume, but at most one step above 16 voxels of
    the finest axis, to four voxels of it.
    """
    volume = math.prod(n * mm for n, mm in zip(shape, spacing, strict=True))
    longest = min((volume / _FEWEST_TOKENS) ** (1 / 3), _LARGEST_TOKEN * min(spacing) * 2 ** (1 / 6))
    steps = max(0, math.floor(6 * math.log2(longest / (_SMALLEST_EDGE * min(spacing))) + 1e-9))
    edges = [longest * 2 ** (-step / 6) for step in range(steps + 1)]
    return list(dict.fromkeys(_token(edge, shape, spacing) for edge in edges))


def _token(edge: float, shape: Size, spacing: Spacing) -> Size:
    z, y, x = (
        min(_LARGEST_TOKEN, 2 ** max(0, round(math.log2(edge / mm))), 2 ** int(math.log2(n)))
        for n, mm in zip(shape, spacing, strict=True)
    )
    return (z, y, x)


def _path(shape: Size, spacing: Spacing, token: Size) -> list[Size]:
    """Crops from one token to the whole volume; at each step the side that is shortest in mm grows."""
    whole = [math.ceil(n / t) for n, t in zip(shape, token, strict=True)]
    if math.prod(whole) == 1:
        whole[2] = 2  # pre-training cannot hide a part of a single token
    edges = [t * mm for t, mm in zip(token, spacing, strict=True)]
    growing = sorted((n * edges[axis], -axis) for axis in range(3) for n in range(1, whole[axis]))
    crop, path = list(token), [token]
    for _, axis in growing:
        crop[-axis] += token[-axis]
        path.append((crop[0], crop[1], crop[2]))
    return path[1:]
