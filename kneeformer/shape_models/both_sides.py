"""Correlation of left and right: a person's bone of one side predicts that of the other.

Mirrored to one side, both are samples of the family of bones. Their independent numbers (scores of
components, residual, and log scale), in standard deviations from the mean, correlate:

    a | b  ~  N(r b, 1 - r^2)          2 (1 - r) = E (a - b)^2

r is learnt from the people with both sides among the bones, and shrunk towards a usual value, which counts as
a few more people.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from kneeformer.shape_models.gram import explained
from kneeformer.sides import Whose

_USUAL = (0.9, 0.7, 0.98)  # correlations of scores, residuals and log scales
_PEOPLE = 4  # that they count as


class BothSides(nn.Module):
    """Correlations of left and right.

    Attributes:
        scores, residual, log_scale: (), of scores, residuals and logarithms of the scale.
        pairs: (), number of pairs of bones that they were learnt from.
    """

    scores: Tensor
    residual: Tensor
    log_scale: Tensor
    pairs: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, usual in zip(("scores", "residual", "log_scale"), _USUAL, strict=True):
            self.register_buffer(name, torch.tensor(usual))
        self.register_buffer("pairs", torch.zeros(()))

    def learn(
        self,
        gram: Tensor,
        whose: Sequence[Whose],
        scales: Sequence[float],
        components: int,
        residual: float,
        log_scale: float,
    ) -> None:
        """Learn from the people with bones of both sides.

        Args:
            gram: (n, n) Gram matrix of the bones.
            scales: of the bones' registrations to the prototype.
            residual: squared distance of a bone from the components of the others.
            log_scale: standard deviation of the logarithm of the scale.
        """
        differences = []
        for one, other in combinations(range(len(whose)), 2):
            others = [n for n, of in enumerate(whose) if of.person != whose[one].person]
            if not whose[one].faces(whose[other]) or len(others) < 2:
                continue
            cross = gram[one, others] - gram[other, others]
            along, scores = explained(gram[others][:, others], cross - cross.mean(), components)
            if not len(scores):  # the others are all the same
                continue
            apart = gram[one, one] + gram[other, other] - 2 * gram[one, other] - along.sum()
            scaled = gram.new_tensor(math.log(scales[one] / scales[other]) / log_scale)
            differences.append(torch.stack([scores.mean(), apart / residual, scaled**2]))
        if differences:
            total = _PEOPLE * 2 * (1 - gram.new_tensor(_USUAL)) + torch.stack(differences).sum(0)
            learnt = 1 - total / (_PEOPLE + len(differences)) / 2
            for buffer, value in zip((self.scores, self.residual, self.log_scale), learnt, strict=True):
                buffer.copy_(value.clamp(0, 0.999))
            self.pairs.fill_(len(differences))
