"""Poses of whole bones, found once and cached: every prior of a registration uses the same ones.

Registering a bone takes from half a second to a minute, and a dozen priors are fitted to the bones of one
registration. A pose is stored beside its prepared bone, under a digest of the bone, the registration and the
code that found it: if one of these changes, the bone is registered again.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from kneeformer.data.disk import DiskError
from kneeformer.data.files import clear_unfinished, read_json, write_json
from kneeformer.errors import KneeformerError
from kneeformer.networks.compute import side_by_side
from kneeformer.shape_models.digest import digest
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.registration import Registration
from kneeformer.tasks.bone_completion.batches import Posed, pose_of, stored_bone

FOLDER = "poses"
_SOLVER = "shape_models/*.py"  # in the package


def cached_poses(
    registration: Registration,
    cases: list[Path],
    watch: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> list[Posed]:
    """Prepared whole bones with their poses on the prototype, cached or else found by registration.

    A cached pose equals the one found to the last bit, so a resumed training sees the same. A damaged file is
    replaced.
    """
    for folder in {case.parent / FOLDER for case in cases}:
        clear_unfinished(folder)  # a concurrent training may lose a pose so: it finds it again
    of_registration = _digest_of(registration)

    def posed(case: Path) -> Posed:
        image = stored_bone(case)
        file = case.parent / FOLDER / f"{case.name}_{digest(of_registration, image)}.json"
        matrix = _read(file)
        if matrix is None:
            matrix = pose_of(registration, image, registration.prototype.device).matrix()
            with suppress(DiskError):  # where nothing may be written, nothing is cached
                write_json(file, matrix.tolist())
        return Posed(image, Pose.of(matrix[:3, :3], matrix[:3, 3]))

    device = registration.prototype.device
    return side_by_side(posed, cases, device, partial(watch, "Registering bones"))


def _read(file: Path) -> Tensor | None:
    """A cached pose, (4, 4) float64; None if the file is missing or damaged."""
    try:
        matrix = torch.tensor(read_json(file), dtype=torch.float64)
    except (KneeformerError, OSError, TypeError, ValueError):
        return None
    return matrix if matrix.shape == (4, 4) and bool(matrix.isfinite().all()) else None


def _digest_of(registration: Registration) -> str:
    settings = registration.settings.model_dump_json()
    code = "".join(file.read_text("utf-8") for file in sorted(Path(__file__).parents[2].glob(_SOLVER)))
    return digest(f"{code} {registration.spacing} {settings}", *registration.state_dict().values())
