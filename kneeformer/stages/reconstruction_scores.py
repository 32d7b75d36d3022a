"""How well a trained fold gives back its validation bones: scored once, kept in its folder."""

from pathlib import Path

import numpy as np
import torch

from kneeformer.augmentation.fractures import hide, known_beside
from kneeformer.data.files import read_json, stamp, write_json
from kneeformer.data.geometry import Geometry
from kneeformer.errors import KneeformerError
from kneeformer.evaluation.reconstruction import QUESTIONS, score_reconstruction
from kneeformer.evaluation.scores import CaseMetrics
from kneeformer.evaluation.summary import CaseScores
from kneeformer.labels import COMPLETE
from kneeformer.networks.completion import BoneCompletion
from kneeformer.networks.pose import points_of
from kneeformer.networks.registration import DISTANCE
from kneeformer.stages.fingerprint import Watch
from kneeformer.stages.predict import Predictor
from kneeformer.training.bones import stored_bone

SCORES = "reconstruction.json"  # in a fold's validation


def score_reconstructions(
    fold: Path, bones: Path, subjects: dict[str, str], device: str | None, watch: Watch
) -> list[CaseScores]:
    """The scores of the validation bones that are kept, or made where there are none or of another training.

    Args:
        fold: its folder.
        bones: folder of prepared cases.
        subjects: validation case -> person.

    Raises:
        KneeformerError: cases are not prepared.
    """
    kept, of = fold / "validation" / SCORES, stamp(fold / "plan.json", fold / "checkpoint_final.pt")
    if kept.is_file() and (content := read_json(kept))["of"] == of:
        return [CaseScores.model_validate(case) for case in content["cases"]]
    if missing := [name for name in subjects if not (bones / f"{name}.json").is_file()]:
        raise KneeformerError(f"{bones}: not prepared: {', '.join(missing)}; run kf_preprocess")
    predictor = Predictor.from_model_folder(fold.parent, [fold.name], device=device)
    (network,) = predictor.networks
    assert isinstance(network, BoneCompletion)
    cases = []
    for number, (name, subject) in enumerate(sorted(subjects.items())):
        watch("Scoring whole bones", number, len(subjects))
        cases.append(CaseScores(case=name, subject=subject, metrics=_score(network, bones / name, number)))
    content = {"of": of, "cases": [case.model_dump(mode="json") for case in cases]}
    write_json(kept, content)
    return cases


def _score(network: BoneCompletion, case: Path, number: int) -> CaseMetrics:
    """Both questions, asked of every configuration alike."""
    device = network.prior.mean.device
    bone = stored_bone(case)
    z, y, x = bone.shape[1:]
    geometry = Geometry((z, y, x), network.spacing)
    inside = bone[DISTANCE].numpy() < 0
    ball = hide(inside, geometry, np.random.default_rng([20, number])) == COMPLETE
    scores = {}
    for question, hidden in zip(QUESTIONS, (np.zeros_like(ball), ball), strict=True):
        known = known_beside(hidden, bone[DISTANCE].numpy(), network.spacing)
        completed = network(bone.to(device), torch.from_numpy(known).to(device))
        ct, distance, _ = completed.at(points_of((z, y, x), network.spacing, device), network.spacing)
        found = torch.stack([ct, distance]).reshape(2, z, y, x).cpu().numpy()
        scores[question] = score_reconstruction(bone.numpy(), found, network.spacing)
    return scores
