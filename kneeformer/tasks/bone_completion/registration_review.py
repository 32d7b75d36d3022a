"""Review of a registration: distances of validation bones to the prototype, with pictures of a few."""

from pathlib import Path

import torch

from kneeformer.data.files import write_json
from kneeformer.shape_models.registration import DISTANCE, Registration
from kneeformer.tasks.bone_completion.batches import stored_bone
from kneeformer.tasks.bone_completion.registration_picture import draw_registration

PICTURES = 4


def review_registration(registration: Registration, cases: list[Path], output: Path) -> str:
    """Write registration.json and CASE.png for the first cases, and return a summary."""
    output.mkdir(parents=True, exist_ok=True)
    device, found = registration.prototype.device, {}
    for number, case in enumerate(cases):
        image = stored_bone(case, device)
        fit = registration(image, torch.ones_like(image[DISTANCE], dtype=torch.bool))
        found[case.name] = {
            "residual_mm": fit.residual_mm,
            "inliers": fit.inliers,
            "scale": fit.pose.scale,
        }
        if number < PICTURES:
            registered = registration.registered(image, fit.pose)
            draw_registration(
                registration.prototype.detach().cpu().numpy(),
                image[DISTANCE].cpu().numpy(),
                registered[DISTANCE].cpu().numpy(),
                registration.spacing,
                output / f"{case.name}.png",
            )
    write_json(output / "registration.json", found)
    residuals = sorted(f["residual_mm"] for f in found.values())
    return (
        f"{len(found)} bones registered to the prototype: half of each surface lies within "
        f"{residuals[len(residuals) // 2]:.2f} mm (median bone), {residuals[-1]:.2f} mm (worst)"
    )
