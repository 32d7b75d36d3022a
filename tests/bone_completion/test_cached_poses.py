"""A pose is found once and cached; another bone, or another registration, is registered again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kneeformer.data.files import read_json, unfinished, write_json
from kneeformer.data.storage import CaseRecord, Origin, save_case
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.registration import Registration
from kneeformer.shape_models.settings import RegistrationSettings
from kneeformer.tasks.bone_completion.cached_poses import FOLDER, cached_poses

GRID, SPACING = (24, 24, 24), (2.5, 2.5, 2.5)


def ball(radius_mm: float, shift_mm: float) -> np.ndarray:
    middle = torch.tensor([shift_mm, 0.0, 0.0])
    distance = ((points_from_middle(GRID, SPACING) - middle).norm(dim=1) - radius_mm).reshape(GRID).numpy()
    return np.stack([distance < 0, distance]).astype(np.float32)


def store(folder: Path, name: str, image: np.ndarray) -> Path:
    record = CaseRecord(
        origin=Origin(settings="", files=""), shape=GRID, spacing=SPACING, orientation="SPL", points={}
    )
    save_case(folder, name, image, None, record, GRID)
    return folder / name


def registration(radius_mm: float = 16) -> Registration:
    network = Registration(GRID, SPACING, RegistrationSettings())
    network.prototype.copy_(torch.from_numpy(ball(radius_mm, 0)))
    return network


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return store(tmp_path, "one", ball(16, 4))


def cached(case: Path) -> list[Path]:
    return sorted((case.parent / FOLDER).iterdir())


def test_it_is_the_pose_and_the_same_to_the_last_bit_again(case: Path) -> None:
    (first,) = cached_poses(registration(), [case])
    assert torch.allclose(first.pose.shift, torch.tensor([-4.0, 0, 0], dtype=torch.float64), atol=0.05)
    (again,) = cached_poses(registration(), [case])
    assert torch.equal(first.pose.matrix(), again.pose.matrix())
    assert torch.equal(first.image, again.image)


def test_what_is_kept_is_not_registered_again(case: Path) -> None:
    cached_poses(registration(), [case])
    (file,) = cached(case)
    unfinished(file).touch()  # by a command that was killed
    moved = np.eye(4)
    moved[2, 3] = 7
    write_json(file, moved.tolist())
    (found,) = cached_poses(registration(), [case])
    assert found.pose.shift.tolist() == [0, 0, 7]


def test_another_registration_finds_a_pose_of_its_own(case: Path) -> None:
    """One and a quarter as large, drawn a little towards 1 by what is usual among bones."""
    cached_poses(registration(), [case])
    (larger,) = cached_poses(registration(20), [case])
    assert larger.pose.scale == pytest.approx(20 / 16, rel=0.02)
    assert len(cached(case)) == 2


def test_a_bone_that_was_prepared_anew_finds_a_pose_of_its_own(case: Path) -> None:
    cached_poses(registration(), [case])
    store(case.parent, "one", ball(16, -4))
    (moved,) = cached_poses(registration(), [case])
    assert float(moved.pose.shift[0]) == pytest.approx(4, abs=0.05)
    assert [read_json(file)[3] for file in cached(case)] == [[0, 0, 0, 1]] * 2


def test_where_nothing_can_be_written_bones_are_registered_all_the_same(case: Path) -> None:
    (case.parent / FOLDER).write_text("in the way")
    (found,) = cached_poses(registration(), [case])
    assert float(found.pose.shift[0]) == pytest.approx(-4, abs=0.05)
