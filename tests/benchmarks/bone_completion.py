"""Surface error of completed bones in the region that was hidden, by cross-validation over prepared bones.

    python tests/benchmarks/bone_completion.py kf_preprocessed/Dataset002_Tibia/bones_2mm

For each fold of splits_final.json a prototype and priors are fitted to its training bones; each validation
bone has a ball around a random voxel of it hidden, which takes 10, 20 and 40 % of it. RMSD is between
surfaces inside the ball, in the grid of the prepared bones: each vertex of one surface against the signed
distance of the other. Ratios and differences are to the prototype, paired; intervals are over bones.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import marching_cubes
from torch import Tensor

from kneeformer.data.files import read_json
from kneeformer.data.storage import open_case
from kneeformer.geometry.aliases import Spacing
from kneeformer.metrics.bootstrap import seeds_and_subjects_interval
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.groupwise import fit_prototype
from kneeformer.shape_models.pose import sample
from kneeformer.shape_models.registration import DISTANCE, Registration
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.tasks.bone_completion.batches import stored_bone

SHARES = (0.1, 0.2, 0.4)
PRIORS = {
    "prototype": PriorSettings(kind="prototype", components=1, residual=False),
    "nearest bone": PriorSettings(kind="nearest", components=64, residual=False),
    "zero-filled PCA 32": PriorSettings(kind="pca_zero", components=32, residual=False),
    "posterior PCA 32": PriorSettings(components=32, residual=False),
    "posterior PCA 32, residual kriging": PriorSettings(components=32),
    "Gaussian process": PriorSettings(kind="gp", components=32),
}


def hidden_ball(bone: Tensor, points: Tensor, share: float, name: str) -> Tensor:
    """(z, y, x) bool."""
    rng = np.random.default_rng([round(100 * share), *name.encode()])
    inside = torch.nonzero((bone[DISTANCE] < 0).flatten())[:, 0]
    squared = ((points - points[inside[rng.integers(len(inside))]]) ** 2).sum(1)
    return (squared <= squared[inside].quantile(share)).reshape(bone.shape[1:])


def surface_points(distance: Tensor, spacing: Spacing) -> Tensor:
    vertices, *_ = marching_cubes(-distance.numpy(), 0)
    return torch.from_numpy((vertices - (np.array(distance.shape) - 1) / 2) * spacing).float()


def rmsd_mm(first: Tensor, second: Tensor, region: Tensor, spacing: Spacing) -> float:
    away = []
    for one, other in ((first, second), (second, first)):
        points = surface_points(one, spacing)
        points = points[sample(region[None].float(), points, spacing)[0] > 0.5]
        field = torch.stack([other, *torch.gradient(other, spacing=list(spacing))])
        value, *slope = sample(field, points, spacing)
        away.append(value / torch.stack(slope).norm(dim=0).clamp(min=0.5))
    return float(torch.cat(away).square().mean().sqrt())


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    folds = read_json(folder.parent / "splits_final.json")
    record = open_case(folder, folds[0]["train"][0]).record
    grid, spacing = record.shape, record.spacing
    points, errors = points_from_middle(grid, spacing), {(s, n): [] for s in SHARES for n in PRIORS}
    for fold in folds:
        training = [stored_bone(folder / name) for name in fold["train"]]
        registration = Registration(grid, spacing, RegistrationSettings())
        fit_prototype(registration, training)
        whole = torch.ones(grid, dtype=torch.bool)
        registered = [registration.registered(b, registration(b, whole).pose) for b in training]
        models = {}
        for name, settings in PRIORS.items():
            models[name] = CompletionModel(grid, spacing, RegistrationSettings(), settings)
            models[name].registration = registration
            models[name].fit(torch.stack(registered))
        for name in fold["val"]:
            bone = stored_bone(folder / name)
            for share in SHARES:
                region = hidden_ball(bone, points, share, name)
                beyond = ndimage.distance_transform_edt(~region.numpy(), spacing)
                known = torch.from_numpy(bone[DISTANCE].abs().numpy() < beyond - 0.5)
                for prior, model in models.items():
                    found = model(bone, known).at(points, spacing)[1].reshape(grid)
                    composite = torch.where(region, found, bone[DISTANCE])
                    error = rmsd_mm(composite, bone[DISTANCE], region, spacing)
                    errors[share, prior].append(error)
            print(name, flush=True)
    print("| hidden | prior | RMSD in the region, mm (95 % CI) | median | of the prototype's | difference |")
    print("|---|---|---|---|---|---|")
    for (share, prior), values in errors.items():
        pairs = np.array([values, errors[share, "prototype"]])
        pairs = pairs[:, np.isfinite(pairs).all(0)]
        mean = "{:.2f} ({:.2f} to {:.2f})".format(*seeds_and_subjects_interval(pairs[:1]))
        apart = "{:+.2f} ({:+.2f} to {:+.2f})".format(*seeds_and_subjects_interval(pairs[:1] - pairs[1:]))
        ratio = pairs[0].mean() / pairs[1].mean()
        print(f"| {share:.0%} | {prior} | {mean} | {np.median(pairs[0]):.2f} | {ratio:.2f} | {apart} |")


if __name__ == "__main__":
    main()
