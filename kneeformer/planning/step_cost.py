"""Memory and time of a training step by formula; a measured step corrects them."""

import math
from dataclasses import dataclass

from kneeformer.config import NetworkSettings

# Bytes held for the backward pass, fitted to 14 networks (documentation/benchmarks.md).
_PER_MAP_VALUE = 2.1  # per value of a convolution, its normalisation or their sum
_PER_TOKEN_VALUE = 40.0  # per block, token and channel
_PER_OUTPUT = 9.0  # of the loss, per voxel and class
_BACKWARD = 1.25  # factor for gradients in flight
_PER_PARAMETER = 18.0  # weight, gradient, two moments, half-precision copy
_FIXED_GB = 0.5  # the program itself

# Seconds on two cores with bfloat16, forward and backward, fitted to the same networks.
_MAP_SECONDS = 1.6e-9  # per value of a feature map
_PRODUCT_SECONDS = 5e-12  # per operation of a convolution or a linear layer, counted forward
_ATTENTION_SECONDS = 2.1e-11  # per operation of attention
_TOKEN_SECONDS = 5.5e-8  # per block, token and channel
_PARAMETER_SECONDS = 6e-9  # of the optimiser

_STRIDED_MAPS, _PLAIN_MAPS, _DECODER_MAPS = 5, 2, 4  # values kept per stage, voxel and channel


@dataclass(frozen=True)
class StepCost:
    """Cost of a network's training step, as a function of the batch and of voxels and tokens per crop.

    Memory grows with voxels and tokens (attention stores no matrix of pairs), time also with pairs of tokens.
    """

    parameters: int
    bytes_per_voxel: float
    bytes_per_token: float
    seconds_per_voxel: float
    seconds_per_token: float
    seconds_per_pair: float

    def memory_gb(self, batch: int, voxels: int, tokens: int) -> float:
        crop = self.bytes_per_voxel * voxels + self.bytes_per_token * tokens
        return _FIXED_GB + (_PER_PARAMETER * self.parameters + _BACKWARD * batch * crop) / 2**30

    def seconds(self, batch: int, voxels: int, tokens: int) -> float:
        """Seconds on the reference machine: two cores with bfloat16."""
        per_token = self.seconds_per_token + self.seconds_per_pair * tokens
        crop = self.seconds_per_voxel * voxels + per_token * tokens
        return _PARAMETER_SECONDS * self.parameters + batch * crop


def step_cost(network: NetworkSettings, channels: int, outputs: int, bfloat16: bool = True) -> StepCost:
    """The cost of a segmentation step of a network with the CNN decoder.

    Args:
        channels: of an image.
        outputs: classes or regions that are predicted.
        bfloat16: whether features are kept in half precision.
    """
    values, operations, weights = 0.0, 0.0, float(outputs * network.stem[0].channels)
    share, before = 1.0, channels  # voxels per voxel of the image; channels
    for number, stage in enumerate(network.stem):
        finer, share = share, share / math.prod(stage.stride)
        kernel = math.prod(stage.kernel)
        convolved = before * stage.channels * kernel
        expanded = before * stage.channels if number else 0  # by the decoder, back to the finer stage
        blocks = (max(stage.stride) > 1) + (number < len(network.stem) - 1)  # of stem and decoder
        convolved += blocks * stage.channels**2 * kernel
        weights += convolved + expanded * math.prod(stage.stride)
        operations += 2 * (share * convolved + finer * expanded)
        maps = _STRIDED_MAPS if max(stage.stride) > 1 else _PLAIN_MAPS
        values += share * stage.channels * (maps + (_DECODER_MAPS if number < len(network.stem) - 1 else 0))
        before = stage.channels
    width, depth = network.width, network.depth
    products = 2 * (4 + 2 * network.mlp_ratio) * width**2 * depth  # of a token
    size = 1 if bfloat16 else 2
    return StepCost(
        parameters=round(weights + products / 2),
        bytes_per_voxel=size * _PER_MAP_VALUE * values + _PER_OUTPUT * outputs,
        bytes_per_token=size * _PER_TOKEN_VALUE * width * depth,
        seconds_per_voxel=_MAP_SECONDS * values + _PRODUCT_SECONDS * operations,
        seconds_per_token=_PRODUCT_SECONDS * products + _TOKEN_SECONDS * width * depth,
        seconds_per_pair=_ATTENTION_SECONDS * 4 * width * depth,
    )
