"""Femora completed with and without the same person's other side, each person left out once.

    python tests/benchmarks/other_side.py FEMUR_MASKS FEMUR_PAIR_MASKS CACHE region|length

Masks are `L_01`, and `z001_L` and `z001_R` of the pairs. Bones are isolated at 4 mm, whichever way they lie;
the prototype is learnt from the first folder, whose bones are not mirrored (decision 0059), so from none of
the people that are evaluated, and kept in the folder CACHE with the bones. For each person of the second
folder priors are fitted to all other people's. Intervals are over people, differences paired.

`region`: a ball hides 40 % of each bone; RMSD of the surfaces in it, in mm.
`length`: an end is hidden, a fifth of the length, one after the other; absolute error of the length in mm and
the share of the lengths that lie within 1.645 deviations, and within the factor that the others' tell.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from bone_completion import hidden_ball, rmsd_mm
from scipy import ndimage
from torch import Tensor

from kneeformer.data.images import read_image
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import surface_of
from kneeformer.metrics.bootstrap import seeds_and_subjects_interval
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.groupwise import fit_prototype
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.priors import Pca
from kneeformer.shape_models.registration import DISTANCE, Registration
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.sides import Whose, side_in_name, without_side
from kneeformer.tasks.bone_completion.bone_orientation import oriented_bone
from kneeformer.tasks.bone_completion.fractures import end_of
from kneeformer.tasks.bone_completion.isolation import Outline
from kneeformer.tasks.bone_completion.length import conformal_quantile, length_of
from kneeformer.tasks.bone_completion.settings import BoneGridSettings

GRID = BoneGridSettings(
    folder="bones", spacing=(4.0, 4.0, 4.0), grid=(40, 40, 136), side="right", straightened=True
)
WHOLE, POINTS = torch.ones(GRID.grid, dtype=torch.bool), points_from_middle(GRID.grid, GRID.spacing)
REGISTRATION = RegistrationSettings(rounds=4)
COMPONENTS, SHARE = 32, 0.4


@dataclass(frozen=True)
class Femur:
    """A bone (2, z, y, x) on the plan's grid, and its pose on the prototype."""

    name: str
    image: Tensor
    pose: Pose

    @property
    def person(self) -> str:
        return without_side(self.name)

    @property
    def whose(self) -> Whose:
        return Whose(self.person, side_in_name(self.name))


def outline(file: Path) -> Outline:
    """A bone without intensities."""
    mask = read_image(file)
    bone = mask.array > 0
    return Outline.of(np.where(bone, 700, -1000).astype(np.int16), bone.astype(np.uint8), mask.grid, GRID)


def prepare(femora: Path, pairs: Path) -> dict[str, object]:
    """Bones, poses and registration."""
    name = lambda file: file.name.split(".")[0]  # noqa: E731
    bones = {}
    for file in sorted(femora.glob("*.nii.gz")):
        found = outline(file)
        bone = found.on(GRID.grid, GRID.spacing, found.frame(GRID, None))
        bones[name(file)] = torch.from_numpy(bone.image)
    registration = Registration(GRID.grid, GRID.spacing, REGISTRATION)
    fit_prototype(registration, list(bones.values()), partial(print, "prototype"))
    poses = {n: registration(bone, WHOLE).pose for n, bone in bones.items()}
    shapes = Pca(GRID.grid, GRID.spacing, PriorSettings(components=len(bones) - 1))
    shapes.fit(torch.stack([registration.registered(bones[n], poses[n]) for n in bones]))
    for file in sorted(pairs.glob("*.nii.gz")):
        way = oriented_bone(outline(file), registration, shapes.family(), GRID, side_in_name(name(file)))
        bones[name(file)] = torch.from_numpy(way.bone.image)
        poses[name(file)] = registration(bones[name(file)], WHOLE).pose
        print(name(file), *way.doubts, flush=True)
    matrices = {n: pose.matrix() for n, pose in poses.items()}
    return {"registration": registration.state_dict(), "bones": bones, "poses": matrices}


class Study:
    """All femora, registered, and models that have not seen a person."""

    def __init__(self, stored: dict[str, dict[str, Tensor]]) -> None:
        self.registration = stored["registration"]
        poses = {n: Pose.of(m[:3, :3], m[:3, 3]) for n, m in stored["poses"].items()}
        self.femora = [Femur(n, bone, poses[n]) for n, bone in stored["bones"].items()]
        empty = self.model("gp", [])
        self.registered = [empty.registration.registered(f.image, f.pose) for f in self.femora]

    def model(self, kind: str, kept: list[int]) -> CompletionModel:
        prior = PriorSettings.model_validate(
            {"kind": kind, "components": COMPONENTS, "residual": kind != "mirrored"}
        )
        model = CompletionModel(GRID.grid, GRID.spacing, REGISTRATION, prior)
        model.registration.load_state_dict(self.registration)
        if kept:
            whose = [self.femora[n].whose for n in kept]
            scales = [self.femora[n].pose.scale for n in kept]
            model.fit(torch.stack([self.registered[n] for n in kept]), whose, scales)
        return model

    def people(self) -> Iterator[tuple[CompletionModel, list[Femur]]]:
        """A Gaussian process, and the two bones of a person that it has not learnt from."""
        people = [f.person for f in self.femora]
        for person in sorted({p for p in people if people.count(p) == 2}):
            kept = [n for n, f in enumerate(self.femora) if f.person != person]
            yield self.model("gp", kept), [f for f in self.femora if f.person == person]


def known_beside(image: Tensor, region: Tensor) -> Tensor:
    beyond = ndimage.distance_transform_edt(~region.numpy(), GRID.spacing)
    return torch.from_numpy(image[DISTANCE].abs().numpy() < beyond - 0.5)


def region(study: Study) -> None:
    errors: dict[str, list[list[float]]] = {"3d_gp": [], "3d_mirrored": [], "3d_gp --other_side": []}
    alone = study.model("mirrored", [])
    for model, femora in study.people():
        rows = []
        for femur, other in zip(femora, femora[::-1], strict=True):
            ball = hidden_ball(femur.image, POINTS, SHARE, femur.name)
            known, row = known_beside(femur.image, ball), []
            given = (model, alone.of_one(other.image, WHOLE), model.given_other_side(other.image, WHOLE))
            for one in given:
                found = one(femur.image, known).at(POINTS, GRID.spacing)[1].reshape(GRID.grid)
                composite = torch.where(ball, found, femur.image[DISTANCE])
                row.append(rmsd_mm(composite, femur.image[DISTANCE], ball, GRID.spacing))
            rows.append(row)
            print(femur.name, *(f"{value:.2f}" for value in row), flush=True)
        for values, column in zip(errors.values(), np.array(rows).T, strict=True):
            values.append(column.tolist())
    best = np.array(errors["3d_gp --other_side"])
    print("| prior | RMSD in the region, mm | median of bones | with the other side less, mm |")
    print("|---|---|---|---|")
    for name, of_people in errors.items():
        both = np.array(of_people)
        mean = interval(both.mean(1))
        print(f"| `{name}` | {mean} | {np.median(both):.2f} | {interval((best - both).mean(1))} |")


def lengths(study: Study) -> None:
    grid = Grid(GRID.grid, GRID.spacing)
    names = ("3d_gp", "3d_gp --other_side")
    found: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in names}
    for model, femora in study.people():
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for femur, other in zip(femora, femora[::-1], strict=True):
            distance = femur.image[DISTANCE].numpy()
            true = length_of(surface_of(-distance, 0.0, grid).vertices, None, grid).mm
            given = model.given_other_side(other.image, WHOLE)
            for upper, (name, one) in product((False, True), zip(names, (model, given), strict=True)):
                hidden = end_of(distance < 0, grid, upper)
                known = known_beside(femur.image, torch.from_numpy(hidden))
                _, made, spread = one(femur.image, known).at(POINTS, GRID.spacing)
                whole = np.where(hidden, made.reshape(GRID.grid).numpy(), distance)
                deviation = np.where(hidden, spread.reshape(GRID.grid).numpy(), 0)
                length = length_of(surface_of(-whole, 0.0, grid).vertices, deviation, grid)
                rows[name].append((length.mm - true, length.deviation_mm))
        for name in names:
            found[name].append(rows[name])
            print(femora[0].person, name, *(f"{e:.1f} ({d:.1f})" for e, d in rows[name]), flush=True)
    for name, of_people in found.items():
        errors, deviations = np.moveaxis(np.abs(of_people), 2, 0)
        ratios = errors / deviations
        factors = [conformal_quantile(np.delete(ratios, n, 0).ravel()) for n in range(len(ratios))]
        held = [(mine <= factor).mean() for mine, factor in zip(ratios, factors, strict=True)]
        print(
            f"| `{name}` | {interval(errors.mean(1))} | {np.median(errors):.2f} | "
            f"{(ratios <= 1.645).mean():.0%} | {np.mean(held):.0%} |"
        )


def interval(of_people: np.ndarray) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*seeds_and_subjects_interval(of_people[None]))


def main() -> None:
    torch.set_num_threads(1)
    cache = Path(sys.argv[3]) / "femora.pt"
    if not cache.is_file():
        torch.save(prepare(Path(sys.argv[1]), Path(sys.argv[2])), cache)
    with torch.no_grad():
        {"region": region, "length": lengths}[sys.argv[4]](Study(torch.load(cache)))


if __name__ == "__main__":
    main()
