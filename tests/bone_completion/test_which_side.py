"""The side that a bone is of: registered once where it is told, twice where it is not."""

import numpy as np
import pytest
from small_completion import Tibia, complete, learnt
from torch import nn

from kneeformer.sides import Side
from kneeformer.tasks.bone_completion.fractures import hide
from kneeformer.tasks.cases import Outputs

pytestmark = pytest.mark.slow

LEFT = Tibia.scanned(22, left=True)
MASK = hide(LEFT.bone, LEFT.grid, np.random.default_rng(22))


def counted(side: Side | None) -> tuple[Outputs, list[int]]:
    """A left bone, completed by a model of right ones, and by how many points each registration went."""
    points: list[int] = []

    def note(module: nn.Module, args: tuple[object, ...], options: dict[str, int], fit: object) -> None:
        points.append(options.get("points", 20_000))

    hook = learnt().registration.register_forward_hook(note, with_kwargs=True)
    try:
        return complete(LEFT.ct, MASK, LEFT.grid, own="right", side=side), points
    finally:
        hook.remove()


@pytest.mark.parametrize(("side", "points"), [(None, [20_000, 20_000]), ("left", [20_000, 2_000])])
def test_a_left_bone_is_mirrored(side: Side | None, points: list[int]) -> None:
    outputs, registered = counted(side)
    assert outputs.facts["warnings"] == [] and registered == points
    assert np.linalg.det(outputs.transforms[""][:3, :3]) < 0


def test_a_wrong_side_is_told() -> None:
    outputs, _ = counted("right")
    assert (
        "its name or dataset.json says right, but it fits better as a left bone" in outputs.facts["warnings"]
    )
