"""Principal components from the Gram matrix, for few bones with many voxels."""

from collections.abc import Sequence

import torch
from torch import Tensor


def principal(gram: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues and orthonormal eigenvectors (bones, k) of a Gram matrix, centred; largest first."""
    count = len(gram)
    centring = torch.eye(count, dtype=gram.dtype, device=gram.device) - 1 / count
    values, vectors = torch.linalg.eigh(centring @ gram @ centring)
    kept = min(components, count - 1)
    return values.flip(0)[:kept].clamp(min=0), vectors.flip(1)[:, :kept]


def left_out(gram: Tensor, components: int, people: Sequence[str]) -> Tensor:
    """(bones,) squared distance of each bone from the affine space of other people's first components.

    Args:
        people: person of each bone.
    """
    squared = []
    for out, person in enumerate(people):
        others = [i for i, other in enumerate(people) if other != person]
        if not others:
            squared.append(gram.new_tensor(torch.inf))
            continue
        among = gram[others][:, others]
        centre = among.mean()
        cross = gram[out, others] - among.mean(0) - gram[out, others].mean() + centre
        length = gram[out, out] - 2 * gram[out, others].mean() + centre
        squared.append((length - explained(among, cross, components)[0].sum()).clamp(min=0))
    return torch.stack(squared)


def explained(gram: Tensor, cross: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """The part of a vector that components of bones explain.

    Args:
        gram: (n, n) of the bones.
        cross: (n,) products of the vector with each bone, centred.

    Returns:
        (k,) squared length of the vector along each component, and in standard deviations of the bones.
    """
    values, vectors = principal(gram, components)
    usable = values > 1e-9 * values.sum()
    squared = (vectors[:, usable].T @ cross) ** 2 / values[usable]
    return squared, squared * max(1, len(gram) - 1) / values[usable]
