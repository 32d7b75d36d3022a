"""Use of the codes of a VQ-VAE: counts, perplexity and dead codes."""

from pathlib import Path

import torch

from kneeformer.data.files import write_json
from kneeformer.shape_models.registration import DISTANCE, Registration
from kneeformer.shape_models.vqvae import VqVae, perplexity
from kneeformer.tasks.bone_completion.cached_poses import cached_poses
from kneeformer.tasks.bone_completion.codebook_picture import draw_code_use


def review_codebook(registration: Registration, prior: VqVae, cases: list[Path], output: Path) -> str:
    """Write codebook.json and codebook.png for registered whole bones, and return a summary."""
    output.mkdir(parents=True, exist_ok=True)
    device = prior.mean.device
    whole = torch.ones_like(prior.mean[None, DISTANCE], dtype=torch.bool)
    use = torch.zeros(len(prior.codebook.codes), dtype=torch.int64, device=device)
    for bone in cached_poses(registration, cases):
        use += prior.use(registration.registered(bone.image.to(device), bone.pose)[None], whole)
    even, dead = float(perplexity(use / use.sum())), int((use == 0).sum())
    write_json(output / "codebook.json", {"perplexity": even, "dead": dead, "use": use.tolist()})
    said = f"{len(use)} codes, perplexity {even:.1f}, {dead} dead"
    draw_code_use(use.cpu().numpy(), said, output / "codebook.png")
    return f"{len(cases)} bones in {said}"
