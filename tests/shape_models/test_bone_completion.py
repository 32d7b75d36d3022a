"""A bone completed on the prototype: what is hidden says nothing, what is visible stays."""

from functools import cache

import pytest
import torch
from phantoms import COARSE, anatomy, turned
from torch import Tensor

from kneeformer.shape_models.completion import Completed, CompletionModel
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings

pytestmark = pytest.mark.slow

KNOWN = COARSE.everywhere
SEEDS = (1, 2, 3, 4, 5, 6)
POSE = turned(10, 12, 0.95, seed=0)


@cache
def bones() -> Tensor:
    return torch.stack([COARSE.bone(anatomy(seed)) for seed in SEEDS])


def network(kind: str = "pca", residual: bool = True, components: int = 6) -> CompletionModel:
    """Fitted to six tibias; the prototype is one of them."""
    settings = PriorSettings.model_validate({"kind": kind, "components": components, "residual": residual})
    made = CompletionModel(COARSE.grid, COARSE.spacing, RegistrationSettings(), settings)
    made.registration.prototype.copy_(bones()[0])
    made.fit(bones())
    return made


@pytest.fixture(scope="module")
def trained() -> CompletionModel:
    return network()


def masked_bone(seed: int = 7, pose: Pose = POSE) -> tuple[Tensor, Tensor]:
    """A bone that was never seen and what is known of it, a fifth being hidden."""
    image = COARSE.bone(anatomy(seed), pose)
    return image, image[1].abs() < COARSE.hidden(image, 0.2, seed=3)


def at_surface(completed: Completed, image: Tensor, where: Tensor) -> Tensor:
    """mm between completed and true distance at the voxels of a bone's surface that `where` chooses."""
    chosen = ((image[1].abs() < 2.5) & where).flatten()
    _, distance, _ = completed.at(COARSE.points[chosen], COARSE.spacing)
    return (distance - image[1].flatten()[chosen]).abs()


def test_every_prior_but_the_prototype_finds_a_bone_at_one_place() -> None:
    poses = {
        kind: network(kind)(*masked_bone()).fit.pose.matrix()
        for kind in ("pca", "gp", "pca_zero", "nearest", "vae")
    }
    assert all(torch.equal(pose, poses["pca"]) for pose in poses.values())
    assert not torch.equal(network("prototype")(*masked_bone()).fit.pose.matrix(), poses["pca"])


def test_a_registration_without_steps_says_where_a_bone_is_whatever_the_prior() -> None:
    for kind in ("prototype", "pca", "nearest"):
        settings = PriorSettings.model_validate({"kind": kind, "components": 6})
        made = CompletionModel(COARSE.grid, COARSE.spacing, RegistrationSettings(steps=0), settings)
        made.fit(bones())
        assert torch.equal(made(*masked_bone()).fit.pose.matrix(), Pose.identity().matrix())


@pytest.mark.parametrize("kind", ["prototype", "nearest", "pca", "gp"])
@pytest.mark.parametrize("garbage", [torch.nan, -1e6])
def test_what_is_hidden_changes_no_bit(kind: str, garbage: float) -> None:
    model = network(kind)
    image, known = masked_bone()
    spoilt = torch.where(known, image, garbage)
    one, other = model(image, known), model(spoilt, known)
    assert torch.equal(one.image, other.image) and torch.isfinite(one.image).all()
    assert torch.equal(one.fit.pose.matrix(), other.fit.pose.matrix())
    assert one.surface_error_ratio == other.surface_error_ratio
    if one.deviation_mm is not None:
        assert other.deviation_mm is not None and torch.equal(one.deviation_mm, other.deviation_mm)


def test_an_other_side_completes_wherever_it_lies() -> None:
    """The same bone whole, as a person's other side is once it is mirrored, on its own grid."""
    model, (image, known) = network("mirrored", residual=False), masked_bone()
    hidden = COARSE.hidden(image, 0.2, seed=3) == 0
    mean_bone = at_surface(model(image, known), image, hidden).mean()  # fitted to all
    for lies in (Pose.identity(), turned(12, 10, 1.05, seed=1)):
        completed = model.of_one(COARSE.bone(anatomy(7), lies), KNOWN)(image, known)
        assert at_surface(completed, image, hidden).mean() < 0.5 * mean_bone
        assert completed.deviation_mm is None


def test_a_visible_surface_stays_and_a_hidden_one_is_near(trained: CompletionModel) -> None:
    image, known = masked_bone()
    completed = trained(image, known)
    assert at_surface(completed, image, known).quantile(0.95) < 1
    hidden = at_surface(completed, image, COARSE.hidden(image, 0.2, seed=3) == 0)
    assert len(hidden) > 60 and hidden.median() < 2
    prototype = Completed(trained.registration.prototype, None, completed.fit, 1.0, 1.0)
    trivial = at_surface(prototype, image, COARSE.hidden(image, 0.2, seed=3) == 0)
    assert hidden.mean() < 0.8 * trivial.mean()


def test_a_bone_that_was_learnt_from_comes_back(trained: CompletionModel) -> None:
    image, known = masked_bone(SEEDS[0])
    completed = trained(image, known)
    assert at_surface(completed, image, COARSE.hidden(image, 0.2, seed=3) == 0).mean() < 0.7


@pytest.mark.parametrize("kind", ["pca", "gp"])
def test_visible_ct_changes_ct_alone_and_only_where_it_is_read(kind: str) -> None:
    model, (image, known) = network(kind), masked_bone()
    fit = model(image, known).fit
    image[0] *= 0.8  # a bone less dense than any
    seen, without = (model.complete(image, known, fit, reads_ct) for reads_ct in (True, False))
    assert torch.equal(seen.image[1], without.image[1])
    assert seen.deviation_mm is not None and without.deviation_mm is not None
    assert torch.equal(seen.deviation_mm, without.deviation_mm)
    assert seen.surface_error_ratio == without.surface_error_ratio
    assert not torch.equal(seen.image[0], without.image[0])


@pytest.mark.parametrize("kind", ["pca", "gp", "vae"])
def test_ct_that_is_not_read_says_nothing(kind: str) -> None:
    model, (image, known) = network(kind), masked_bone()
    fit, garbage = model(image, known).fit, image.clone()
    garbage[0] = torch.nan
    first, second = (model.complete(bone, known, fit, reads_ct=False) for bone in (image, garbage))
    assert torch.equal(first.image, second.image)


def test_without_residuals_a_pca_reads_no_ct() -> None:
    model, (image, known) = network(residual=False), masked_bone()
    fit = model(image, known).fit
    seen, without = (model.complete(image, known, fit, reads_ct) for reads_ct in (True, False))
    assert torch.equal(seen.image, without.image)


def test_pose_and_shape_are_found_together() -> None:
    """A bone like those learnt from, a third of it hidden, lies nearer to where all of it would bring it than
    registered to the prototype alone.
    """
    image = COARSE.bone(anatomy(SEEDS[3]), POSE)
    known = image[1].abs() < COARSE.hidden(image, 1 / 3, seed=3)
    points, apart = COARSE.surface(image), {}
    for kind in ("pca", "prototype"):
        model = network(kind)
        places = [model(image, what).fit.pose(points) for what in (known, KNOWN)]
        apart[kind] = float((places[0] - places[1]).norm(dim=1).mean())
    assert apart["pca"] < 0.5 * apart["prototype"]


def test_the_residual_meets_what_is_visible() -> None:
    image, known = masked_bone()
    close = (~known) & (COARSE.hidden(image, 0.2, seed=3) > 0)
    plain, carried = network(residual=False)(image, known), network(residual=True)(image, known)
    assert at_surface(carried, image, close).mean() < 0.8 * at_surface(plain, image, close).mean()
    assert plain.deviation_mm is not None and carried.deviation_mm is not None
    assert (carried.deviation_mm == 0).any() and (carried.deviation_mm >= 0).all()


def test_deviation_is_of_the_size_of_the_error(trained: CompletionModel) -> None:
    image, known = masked_bone()
    completed = trained(image, known)
    chosen = ((image[1].abs() < 2.5) & (COARSE.hidden(image, 0.2, seed=3) == 0)).flatten()
    _, distance, deviation = completed.at(COARSE.points[chosen], COARSE.spacing)
    assert deviation is not None
    ratio = (distance - image[1].flatten()[chosen]).square().mean().sqrt() / deviation.mean()
    assert 0.2 < ratio < 3


def test_at_is_in_mm_of_the_bones_own_frame() -> None:
    half = Pose(torch.eye(3, dtype=torch.float64), torch.tensor([2.0, 0.0, -4.0]).double(), 0.5)
    ramp = COARSE.image(COARSE.points[:, 0] + 2 * COARSE.points[:, 2])
    fit = network("prototype").registration(ramp, KNOWN)
    completed = Completed(ramp, ramp[1], type(fit)(half, 0.0, 1.0), 1.0, 1.0)
    ct, distance, spread = completed.at(torch.tensor([[4.0, 6.0, 2.0]]), COARSE.spacing)
    assert distance.tolist() == pytest.approx([(4.0 - 6.0) / 0.5])  # seen at (4, 3, -3)
    assert spread is not None and spread.tolist() == distance.tolist() and 0 <= ct <= 1
    assert Completed(ramp, None, fit, 1.0, 1.0).at(COARSE.points[:1], COARSE.spacing)[2] is None


def test_a_bone_unlike_any_is_told(trained: CompletionModel) -> None:
    own = trained(COARSE.bone(anatomy(SEEDS[1])), KNOWN)
    strange = COARSE.bone(anatomy(SEEDS[1]))
    strange[1] += 6 * (COARSE.points / 5).sin().prod(1).reshape(COARSE.grid)  # dented all over
    odd = trained(strange, KNOWN)
    assert 0 < own.surface_error_ratio < 2 < odd.surface_error_ratio


def test_what_lies_beyond_the_bones_grid_is_not_known(trained: CompletionModel) -> None:
    shifted = Pose(torch.eye(3, dtype=torch.float64), torch.tensor([0.0, 0.0, 20.0]).double(), 1.0)
    carried = trained._carried(KNOWN, shifted)
    assert not carried[:, :, :6].any()  # five voxels, and the border
    assert carried[1:-1, 1:-1, 6:].all()


def test_weights_of_the_stage_before_have_their_names(trained: CompletionModel) -> None:
    names = set(trained.state_dict())
    assert "registration.prototype" in names and {n for n in names if n.startswith("prior.")}
    other = CompletionModel(COARSE.grid, COARSE.spacing, RegistrationSettings(), trained.settings)
    other.load_state_dict(trained.state_dict())
    image, known = masked_bone()
    assert torch.equal(other(image, known).image, trained(image, known).image)
