"""Scores of a trained fold on its whole validation bones: computed once, stored in its folder."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from kneeformer.data.files import read_model, stamp, write_text
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE
from kneeformer.metrics.scores import CaseMetrics
from kneeformer.metrics.summary import CaseScores, Record
from kneeformer.networks.positions import points_from_middle
from kneeformer.progress import Progress
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.registration import DISTANCE
from kneeformer.tasks.bone_completion.batches import stored_bone
from kneeformer.tasks.bone_completion.fractures import hide, known_beside
from kneeformer.tasks.bone_completion.whole_bones import MASKINGS, score_whole_bone
from kneeformer.workflows.predict import Predictor

SCORES = "whole_bones.json"  # in a fold's validation


class FoldReconstructions(Record):
    """Scores of a fold's validation bones, and the digest of the training that they are of."""

    of: str
    cases: tuple[CaseScores, ...]


def score_whole_bones(
    fold: Path, bones: Path, subjects: dict[str, str], device: str | None, watch: Progress
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
    with suppress(KneeformerError):  # what is damaged is made again
        if (scores := read_model(kept, FoldReconstructions, "")).of == of:
            return list(scores.cases)
    if missing := [name for name in subjects if not (bones / f"{name}.json").is_file()]:
        raise KneeformerError(f"{bones}: not prepared: {', '.join(missing)}; run kf_preprocess")
    predictor = Predictor.from_model_folder(fold.parent, [fold.name], device=device)
    (network,) = predictor.networks
    assert isinstance(network, CompletionModel)
    cases = []
    for number, (name, subject) in enumerate(sorted(subjects.items())):
        watch("Scoring whole bones", number, len(subjects))
        cases.append(CaseScores(case=name, subject=subject, metrics=_score(network, bones / name, number)))
    write_text(kept, FoldReconstructions(of=of, cases=tuple(cases)).model_dump_json(indent=2) + "\n")
    return cases


def _score(network: CompletionModel, case: Path, number: int) -> CaseMetrics:
    """Both questions, asked of every configuration alike."""
    device = network.prior.mean.device
    bone = stored_bone(case)
    z, y, x = bone.shape[1:]
    geometry = Grid((z, y, x), network.spacing)
    inside = bone[DISTANCE].numpy() < 0
    ball = hide(inside, geometry, np.random.default_rng([20, number])) == COMPLETE
    scores = {}
    for question, hidden in zip(MASKINGS, (np.zeros_like(ball), ball), strict=True):
        known = known_beside(hidden, bone[DISTANCE].numpy(), network.spacing)
        completed = network(bone.to(device), torch.from_numpy(known).to(device))
        points = points_from_middle((z, y, x), network.spacing, device)
        ct, distance, _ = completed.at(points, network.spacing)
        found = torch.stack([ct, distance]).reshape(2, z, y, x).cpu().numpy()
        scores[question] = score_whole_bone(bone.numpy(), found, network.spacing)
    return scores
