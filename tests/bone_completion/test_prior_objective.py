"""How priors learn to complete bones: loss and score of the mean by hand, and real steps of each kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kneeformer.config import TrainingSettings
from kneeformer.engine.checkpoint import load_checkpoint
from kneeformer.engine.loop import FINAL, train
from kneeformer.engine.training_run import TrainingRun
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.phantoms.bone_shape import BoneAnatomy
from kneeformer.shape_models.build_prior import build_prior
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.priors import ShapePrior
from kneeformer.shape_models.settings import PriorSettings
from kneeformer.tasks.bone_completion.batches import BoneBatches, Posed
from kneeformer.tasks.bone_completion.objective import PriorObjective
from kneeformer.tasks.bone_completion.settings import BoneLearningSettings

pytestmark = pytest.mark.slow

GRID: Size = (16, 16, 16)
SPACING: Spacing = (8.0, 8.0, 8.0)
CODE = {"width": 8, "latent_channels": 4, "kl_weight": 1e-3, "codes": 16, "depth": 1}
EPOCHS, STEPS = 2, 30


class Completing(nn.Module):
    """A network as the objective knows it: a prior, fitted to bones, that has not learnt yet."""

    prior: ShapePrior

    def __init__(self, kind: str, bones: Tensor) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.prior = build_prior(GRID, SPACING, PriorSettings.model_validate({"kind": kind, "code": CODE}))
        self.prior.fit(bones)


def level(ct: float, distance_mm: float) -> Tensor:
    """(2, z, y, x), the same everywhere."""
    return torch.tensor([ct, distance_mm]).view(2, 1, 1, 1).expand(2, *GRID)


def phantoms(count: int, seed: int) -> list[Tensor]:
    """Bones (2, z, y, x) that lie alike."""
    points = points_from_middle(GRID, SPACING).double().numpy()[:, ::-1]
    rng = np.random.default_rng(seed)
    distances = [BoneAnatomy.draw(rng).signed_distance(points) for _ in range(count)]
    fields = [torch.from_numpy(distance).float().view(GRID) for distance in distances]
    return [torch.stack([0.5 * (field < 0), field]) for field in fields]


def test_loss_and_score_of_the_mean_by_hand() -> None:
    """The mean is CT 0.5 and 0 mm, the spread 1 mm (of 8192 voxels): 0.1 in CT and 1 mm each cost 1."""
    network = Completing("vit", torch.stack([level(0.6, 1.0), level(0.4, -1.0)])).eval()
    first, second = level(0.6, 1.0), level(0.5, 0.0).clone()
    known = torch.ones(2, *GRID, dtype=torch.bool)
    known[1, ..., 8:], second[1, ..., 8:] = False, 1.5
    batch = {"image": torch.stack([first, second]), "known": known}
    found = PriorObjective().validate(network, [batch])
    # the first, wholly visible: 1 + 1, and 1 mm off; the second: 1.5 ** 2 in its hidden half, and 1.5 mm off
    assert found.loss == pytest.approx((2 + 2.25 / 2) / 2 * 8191 / 8192, rel=1e-6)
    assert found.figures == {"surface error mm": pytest.approx((1 + 1.5) / 2)}
    assert found.scores == {"surface": pytest.approx((1 / 2 + 1 / 2.5) / 2)}


@pytest.mark.parametrize(("kind", "left"), [("vae", 0.8), ("vqvae", 1.0), ("vit", 0.7)])
def test_steps_bring_bones_nearer_than_the_mean(kind: str, left: float, tmp_path: Path) -> None:
    """At most a share of the mean's loss is left; a codebook takes hundreds of steps to more than begin."""
    bones = phantoms(8, seed=0)
    network = Completing(kind, torch.stack(bones))
    learning = BoneLearningSettings(rotation_degrees=0, shift_mm=0, scale=(1.0, 1.0))
    settings = TrainingSettings(
        crop=GRID,
        batch_size=4,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        learning_rate=3e-3,
        warmup_steps=5,
        loss="mse",
        precision="fp32",
    )
    posed = [Posed(bone, Pose.identity()) for bone in bones]
    objective, validation = (
        PriorObjective(),
        BoneBatches(posed, learning, SPACING, 4, 1, 3, on_prototype=True),
    )
    examples = [validation[number] for number in range(3)]
    before = objective.validate(network.eval(), examples)
    train(
        TrainingRun(
            network=network,
            objective=objective,
            training=BoneBatches(posed, learning, SPACING, 4, 0, 2**40, on_prototype=True),
            validation=validation,
            settings=settings,
            folder=tmp_path,
            device=torch.device("cpu"),
            seed=0,
        )
    )
    kept = Completing(kind, torch.stack(bones))
    kept.load_state_dict(load_checkpoint(tmp_path / FINAL)["network"])
    after = objective.validate(kept.eval(), examples)
    assert after.loss < left * before.loss
