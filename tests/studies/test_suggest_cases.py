"""Suggestions of scans to label: uncertainty and choice by hand, and a folder of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import LABELLED, SHAPE, UNLABELLED, Place, plan
from torch import Tensor, nn

from kneeformer.data.dataset import Dataset
from kneeformer.data.images import read_image, write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import turn
from kneeformer.studies.active_learning import small_image, suggest, uncertainty
from kneeformer.studies.suggest_cases import suggest_cases
from kneeformer.workflows.predict import Predictor


def test_uncertainty_is_entropy_where_a_structure_may_be() -> None:
    p = np.zeros((4, 1, 1, 4))
    p[0] = 1  # background, certain: not counted
    p[:, 0, 0, 1] = 0.25  # equal odds: 1
    p[:, 0, 0, 2] = 0, 1, 0, 0  # certain: 0
    p[:, 0, 0, 3] = 0.5, 0.5, 0, 0  # two of four equal: log 2 / log 4
    assert uncertainty(p, regions=False) == pytest.approx((1 + 0 + 0.5) / 3)


def test_uncertainty_of_regions_is_each_by_itself() -> None:
    p = np.zeros((2, 1, 1, 3))
    p[:, 0, 0, 1] = 0.5, 1.0  # one undecided, one certain
    p[:, 0, 0, 2] = 1.0, 0.0
    assert uncertainty(p, regions=True) == pytest.approx(0.25)


@pytest.mark.parametrize("regions", [False, True])
def test_a_scan_in_which_nothing_is_found_is_most_uncertain(regions: bool) -> None:
    p = np.zeros((2, 2, 2, 2))
    p[0] = 0 if regions else 1
    assert uncertainty(p, regions) == 1


def test_a_small_image_does_not_know_how_a_scan_is_stored() -> None:
    image = np.random.default_rng(0).normal(size=(16, 24, 8))
    small = small_image(image, "SPL")
    assert small.mean() == pytest.approx(0) and small.std() == pytest.approx(1)
    for stored in ("IAR", "LPS", "ALS"):
        assert np.allclose(small_image(turn(image, "SPL", stored), stored), small)
    assert np.allclose(small_image(3 * image + 100, "SPL"), small)
    assert small_image(np.arange(6.0).reshape(1, 2, 3), "SPL").shape == small.shape


def test_of_the_uncertain_those_unlike_all_known_are_taken() -> None:
    at = {"a": 0.0, "b": 0.1, "c": 5.0, "d": 9.0, "e": 100.0}
    images = {name: np.array([x]) for name, x in at.items()}
    uncertain = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.1}
    found = suggest(uncertain, images, [np.array([9.5])], 2)
    assert [(s.case, s.distance) for s in found] == [("a", 9.5), ("c", 4.5)], "e is certain, b is as a"
    everything = suggest(uncertain, images, [], 9)
    assert everything[0].case == "a", "without labels the least certain comes first"
    assert len(everything) == 5


class Unsure(nn.Module):
    """Foreground with a probability that falls with the voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(image), image], 1)


def test_a_folder_has_a_table_drafts_and_pictures(place: Place, tmp_path: Path) -> None:
    rng, grid = np.random.default_rng(0), Grid(SHAPE, (1, 1, 1))
    for case in LABELLED:
        write_image(place.raw / "imagesTr" / f"{case}_0000.nrrd", rng.normal(size=SHAPE), grid)
    for i, case in enumerate(UNLABELLED):  # odds of exp(8), exp(7), ... to 1: less and less certain
        write_image(place.raw / "imagesUn" / f"{case}_0000.nrrd", np.full(SHAPE, 8.0 - i), grid)
    (place.raw / "imagesUn" / f"{UNLABELLED[0]}_0000.nrrd").write_bytes(b"torn")
    holed = np.full(SHAPE, 1.0)
    holed[0, 0, 0] = np.nan
    write_image(place.raw / "imagesUn" / f"{UNLABELLED[-1]}_0000.nrrd", holed, grid)
    write_image(place.raw / "imagesTr" / f"{LABELLED[0]}_0000.nrrd", holed, grid)
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (Unsure().eval(),))
    found = suggest_cases(predictor, Dataset.open(place.raw), 2, tmp_path / "out", lambda *_: None)
    assert {s.case for s in found} <= set(UNLABELLED[-5:-1]) and len(found) == 2
    header, first, _ = (tmp_path / "out" / "suggestions.csv").read_text(encoding="utf-8").splitlines()
    assert header == "rank,case,uncertainty,distance" and first.startswith(f"1,{found[0].case},")
    for suggestion in found:
        assert (tmp_path / "out" / f"{suggestion.case}.png").is_file()
        assert read_image(tmp_path / "out" / f"{suggestion.case}.nrrd").array.shape == SHAPE
    drafts = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    with pytest.raises(KneeformerError, match=r"suggestions\.csv: drafts of earlier suggestions"):
        suggest_cases(predictor, Dataset.open(place.raw), 3, tmp_path / "out", lambda *_: None)
    assert {file: file.read_bytes() for file in (tmp_path / "out").iterdir()} == drafts


def test_a_dataset_without_unlabelled_scans_is_refused(place: Place, tmp_path: Path) -> None:
    for image in (place.raw / "imagesUn").iterdir():
        image.unlink()
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (Unsure().eval(),))
    with pytest.raises(KneeformerError, match="imagesUn: no scans without labels"):
        suggest_cases(predictor, Dataset.open(place.raw), 2, tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "out").exists()
