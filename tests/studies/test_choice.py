"""Ensembles and components that help on validation are chosen; others are not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import LABELS, SHAPE, plan
from tables import table

from kneeformer.data.dataset import Dataset
from kneeformer.data.files import write_json, write_text
from kneeformer.data.images import write_image
from kneeformer.data.label_map import read_label_map
from kneeformer.engine.checkpoint import save_checkpoint
from kneeformer.errors import KneeformerError
from kneeformer.geometry.components import count_components, largest_components
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.metrics.overlap import DICE
from kneeformer.plans import parse_plan, read_fold_plan
from kneeformer.studies.choice import choose
from kneeformer.studies.ensembles import validate_pairs
from kneeformer.studies.largest_components import helpful_components
from kneeformer.tasks.evaluation import LeadingScore
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.chosen_predictor import (
    ChosenPredictor,
    keep_largest,
    mean_probabilities,
    most_probable,
)
from kneeformer.workflows.predict import Predictor

PLATEAUS = {"background": 0, "tibial_cartilage": 1, "femur": 2}
CASES = ("a", "b", "c")


def quiet(what: str, done: int, total: int) -> None:
    pass


def boxes(*sizes: tuple[int, int]) -> np.ndarray:
    """(4, 8, 24) label map: per (value, length) a bar of voxels, each four apart from the next."""
    labels = np.zeros((4, 8, 24), np.uint8)
    for row, (value, length) in enumerate(sizes):
        labels[1, 2 * row, :length] = value
    return labels


def dataset_of(folder: Path, labels: Mapping[str, int], maps: Mapping[str, np.ndarray]) -> Dataset:
    """A dataset of noise with these label maps."""
    write_json(
        folder / "dataset.json", {"channel_names": {"0": "PD"}, "labels": labels, "file_ending": ".nrrd"}
    )
    write_maps(folder / "labelsTr", maps)
    rng = np.random.default_rng(0)
    noise = {f"{name}_0000": rng.normal(size=m.shape).astype(np.float32) for name, m in maps.items()}
    write_maps(folder / "imagesTr", noise)
    return Dataset.open(folder)


def write_maps(folder: Path, maps: Mapping[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in maps.items():
        write_image(folder / f"{name}.nrrd", array, Grid(array.shape, (1.0, 1.0, 1.0)))


def test_the_largest_components_are_kept_and_noise_is_not_counted() -> None:
    mask = boxes((1, 20), (1, 10), (1, 1)) > 0
    assert [count_components(mask, share) for share in (0, 0.04, 0.5)] == [3, 2, 1]
    assert [int(largest_components(mask, n).sum()) for n in (1, 2, 3, 4)] == [20, 30, 31, 31]
    assert not largest_components(np.zeros((2, 2, 2), bool), 1).any()


def test_a_removed_component_becomes_background_and_other_structures_stay() -> None:
    scheme = LabelScheme.from_json(PLATEAUS)
    labels = boxes((1, 20), (1, 10), (1, 2), (2, 3))
    kept = keep_largest(labels, scheme, {"tibial_cartilage": 2})
    assert np.array_equal(kept, boxes((1, 20), (1, 10), (0, 2), (2, 3)))
    assert np.array_equal(labels, boxes((1, 20), (1, 10), (1, 2), (2, 3))), "the argument is unchanged"


def test_components_are_dropped_where_that_helps_and_both_plateaus_stay(tmp_path: Path) -> None:
    truth = boxes((1, 10), (1, 10), (2, 20))
    dataset = dataset_of(tmp_path / "raw", PLATEAUS, dict.fromkeys(CASES, truth))
    speck = boxes((1, 10), (1, 10), (2, 20), (1, 4))
    write_maps(tmp_path / "found", dict.fromkeys(CASES, speck))
    predictions = {case: tmp_path / "found" / f"{case}.nrrd" for case in CASES}
    (kept,) = helpful_components(dataset, predictions, quiet)
    assert (kept.structure, kept.components) == ("tibial_cartilage", 2)
    assert (kept.difference, kept.low, kept.high) == pytest.approx((1 - 40 / 44,) * 3)
    write_maps(tmp_path / "found", {"a": truth, "b": truth})  # one of three subjects may be chance
    assert helpful_components(dataset, predictions, quiet) == ()


def test_mean_probabilities_decide_the_label() -> None:
    scheme = LabelScheme.from_json(PLATEAUS)
    one = np.array([0.4, 0.6, 0.0], np.float16).reshape(3, 1, 1, 1)
    other = np.array([0.1, 0.3, 0.6], np.float16).reshape(3, 1, 1, 1)
    mean = mean_probabilities([one, other])
    assert mean.dtype == np.float16
    np.testing.assert_allclose(mean.ravel(), [0.25, 0.45, 0.3], atol=1e-3)
    assert [most_probable(p, scheme).item() for p in (one, other, mean)] == [1, 2, 1]
    regions = LabelScheme.from_json({"background": 0, "knee": [1, 2], "bone": 2}, [1, 2])
    shares = np.array([[0.9, 0.9, 0.2], [0.2, 0.6, 0.3]], np.float16).reshape(2, 1, 1, 3)
    assert most_probable(shares, regions).ravel().tolist() == [1, 2, 0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, dict[str, Path]]:
    """Two configurations of one fold, with random weights; in their plans both have another name."""
    root = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(1)
    maps = {case: (rng.random(SHAPE) < 0.5).astype(np.uint8) for case in CASES}
    models = {}
    for seed, name in enumerate(("3d_vit", "3d_other")):
        models[name] = root / f"kfPlans__{name}"
        one = plan().model_copy(update={"configurations": {"3d_small": plan().configuration("3d_vit")}})
        torch.manual_seed(seed)
        network = predictive("segmentation").network(one.dataset, one.configuration("3d_small"))
        write_text(models[name] / "fold_0" / "plan.json", one.to_text())
        save_checkpoint(models[name] / "fold_0" / "checkpoint_final.pt", {"network": network.state_dict()})
        write_text(models[name] / "fold_0" / "validation" / "summary.json", "{}")
    return dataset_of(root / "raw", LABELS, maps), models


FOLDS: Sequence[tuple[str, list[str]]] = (("fold_0", list(CASES)),)


def test_a_pair_is_validated_and_predicted_alike(
    trained: tuple[Dataset, dict[str, Path]], tmp_path: Path
) -> None:
    dataset, models = trained
    pairs = validate_pairs(models, FOLDS, dataset, tmp_path, quiet)
    assert list(pairs) == [("3d_vit", "3d_other")] and pairs["3d_vit", "3d_other"].cases == CASES
    members = [Predictor.from_model_folder(model, device="cpu") for model in models.values()]
    chosen = ChosenPredictor.of(members, {}).writing(".nrrd")
    case = dataset.training_cases()[0]
    chosen.predict_case(case, tmp_path / "out")
    found, validated = (
        read_label_map(f / "a.nrrd").array for f in (tmp_path / "out", tmp_path / "3d_vit+3d_other")
    )
    assert np.array_equal(found, validated)
    predicted = tmp_path / "3d_vit+3d_other" / "a.nrrd"
    before = predicted.stat().st_mtime_ns
    assert validate_pairs(models, FOLDS, dataset, tmp_path, quiet) == pairs
    assert predicted.stat().st_mtime_ns == before, "not predicted again"
    (models["3d_vit"] / "fold_0" / "validation" / "summary.json").touch()  # --val, with corrected labels
    assert validate_pairs(models, FOLDS, dataset, tmp_path, quiet) == pairs
    assert predicted.stat().st_mtime_ns > before


def test_structures_in_another_order_are_not_averaged(
    trained: tuple[Dataset, dict[str, Path]], tmp_path: Path
) -> None:
    """Their first output is the femur of one and the tibia of the other; the dicts of labels are equal."""
    dataset, models = trained
    swapped = {}
    for (name, model), labels in zip(models.items(), ({"f": 1, "t": 2}, {"t": 2, "f": 1}), strict=True):
        one = read_fold_plan(model / "fold_0")
        content = one.model_dump(mode="json")
        content["dataset"]["labels"] = {"background": 0, **labels}
        whole = parse_plan(content, "test")
        swapped[name] = tmp_path / name
        network = predictive("segmentation").network(whole.dataset, whole.configuration("3d_small"))
        for fold in ("fold_0", f"fold_{len(swapped)}"):
            write_text(swapped[name] / fold / "plan.json", whole.to_text())
            save_checkpoint(swapped[name] / fold / "checkpoint_final.pt", {"network": network.state_dict()})
    members = [Predictor.from_model_folder(model, (0,), device="cpu") for model in swapped.values()]
    assert members[0].plan.dataset == members[1].plan.dataset
    message = "their structures differ, or are in another order"
    with pytest.raises(KneeformerError, match=message):
        ChosenPredictor.of(members, {})
    with pytest.raises(KneeformerError, match=message):
        validate_pairs(swapped, FOLDS, dataset, tmp_path, quiet)
    (swapped["3d_other"] / "fold_2").rename(swapped["3d_vit"] / "fold_2")
    with pytest.raises(KneeformerError, match=r"fold_2: trained by another plan than .*fold_0"):
        Predictor.from_model_folder(swapped["3d_vit"], device="cpu")


@pytest.mark.parametrize(("lead", "members"), [(-2.0, ("3d_vit", "3d_other")), (2.0, ("3d_vit",))])
def test_an_ensemble_is_chosen_where_it_is_significantly_better(
    trained: tuple[Dataset, dict[str, Path]], tmp_path: Path, lead: float, members: tuple[str, ...]
) -> None:
    """The configurations' scores are made up, below or above any that an ensemble may have.

    Predictions have the ending of the plan, whatever dataset.json says by now.
    """
    dataset, models = trained
    dataset = replace(dataset, description=dataset.description.predicted_as(".mha"))
    for case in CASES:
        write_maps(models["3d_vit"] / "fold_0" / "validation", {case: np.ones(SHAPE, np.uint8)})
    scores = {name: table({c: {"femur": {DICE: lead + i}} for c in CASES}) for i, name in enumerate(models)}
    scores = {"3d_vit": scores["3d_other"], "3d_other": scores["3d_vit"]}
    choice = choose(scores, LeadingScore(DICE), models, FOLDS, dataset, tmp_path, quiet)
    assert choice.members == members
    assert set(choice.scores) == {"3d_vit", "3d_other", "3d_vit+3d_other"}
