"""What is planned where images have no labels: a stage that shares all that its weights need with 3d_vit."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kneeformer.config import CropConfiguration, DatasetSettings
from kneeformer.data.dataset import Dataset
from kneeformer.data.files import write_json
from kneeformer.data.images import write_image
from kneeformer.engine.weight_transfer import transfer
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.planning.budget import Budget
from kneeformer.planning.fingerprint import CaseFingerprint, Fingerprint, Intensities
from kneeformer.planning.hybrid import planned_teacher
from kneeformer.plans import Plan, parse_plan
from kneeformer.tasks.registry import task_named, tasks_for
from kneeformer.workflows.fingerprint import take_fingerprint

CPU, GPU = Budget("cpu", 8.0), Budget("cuda", 24.0)
KNEE, BONE = (3.11, 0.4375, 0.4375), (0.7, 0.7, 0.7)
LABELS = {"background": 0, "femur": 1, "tibia": 2}
DATASET = DatasetSettings(
    name="Dataset001_Knee", channel_names=("PD", "T2"), labels=dict(LABELS), file_ending=".nrrd"
)
Spacing = tuple[float, float, float]


def fingerprint(labelled: int, unlabelled: int, spacing: Spacing = KNEE) -> Fingerprint:
    """Of cases with labels, or of those without where there are no others."""
    volumes = {"femur": 1.0} if labelled else {}
    case = CaseFingerprint(
        shape=(36, 320, 300),
        file_shape=(36, 320, 300),
        spacing=spacing,
        orientation="LIP",
        volumes_mm3=volumes,
    )
    seen = Intensities(mean=0, deviation=1, percentile_00_5=0, percentile_99_5=1, minimum=0, maximum=1)
    cases = {f"case{i}": case for i in range(labelled or unlabelled)}
    return Fingerprint(
        cases=cases,
        intensities=(seen,) * 2,
        structures=("femur",),
        orientations=("LIP",),
        unlabelled=unlabelled,
    )


def proposed(labelled: int, unlabelled: int, budget: Budget, spacing: Spacing = KNEE) -> Plan:
    seen = fingerprint(labelled, unlabelled, spacing)
    configurations: dict[str, CropConfiguration] = {}
    for task in tasks_for("segmentation", labelled=seen.labelled > 0):
        configurations |= task.configurations(seen, DATASET, budget)
    return Plan(dataset=DATASET, configurations=configurations)


@pytest.mark.parametrize("budget", [CPU, GPU], ids=["cpu", "cuda"])
@pytest.mark.parametrize("spacing", [KNEE, BONE], ids=["knee", "bone"])
def test_all_that_weights_depend_on_is_shared(budget: Budget, spacing: Spacing) -> None:
    plan = proposed(10, 40, budget, spacing)
    vit, mae = plan.configuration("3d_vit"), plan.configuration("3d_mae")
    assert (vit.task, mae.task) == ("segmentation", "pretraining")
    same = ("stem", "width", "heads", "depth", "mlp_ratio", "rotary_periods_mm", "decoder", "token")
    assert all(getattr(vit.network, field) == getattr(mae.network, field) for field in same)
    assert mae.preprocessing == vit.preprocessing, "prepared cases are shared"
    assert mae.training.crop == vit.training.crop
    assert mae.masking is not None and vit.masking is None
    assert mae.training.fine_tuning is None and vit.training.fine_tuning is not None


@pytest.mark.parametrize(("unlabelled", "stage"), [(29, None), (30, "3d_mae")])
def test_it_comes_before_every_segmentation_or_before_none(unlabelled: int, stage: str | None) -> None:
    found = {n: c.previous_stage for n, c in proposed(10, unlabelled, CPU).configurations.items()}
    assert found == {"3d_vit": stage, "3d_vit_linear": stage, "3d_mae": None}


def test_a_teacher_is_planned_for_the_segmentations_alone() -> None:
    found = {name: c.teacher for name, c in proposed(10, 10, CPU).configurations.items()}
    assert found["3d_vit"] is not None and found["3d_vit_linear"] == found["3d_vit"]
    assert found["3d_mae"] is None
    decided = dict(proposed(10, 10, CPU).configuration("3d_vit").decisions())
    assert decided["teacher"].endswith("images after 50% and 75% of the training")


@pytest.mark.parametrize(("share", "images"), [(1.0, 100), (0.5, 14), (0.001, 1)])
def test_images_are_labelled_in_half_the_time_of_the_steps(share: float, images: int) -> None:
    """600 crops; 16 windows of half a volume, mirrored 32, each a third: 300 / (32 / 3), in two rounds."""
    training = proposed(10, 10, CPU).configuration("3d_vit").training
    of_600 = training.model_copy(update={"batch_size": 2, "epochs": 6, "steps_per_epoch": 50})
    assert planned_teacher(of_600, share, mirror_axes=1).images == images


def test_the_plan_is_read_as_it_is_written_and_says_only_what_differs() -> None:
    plan = proposed(10, 40, CPU)
    assert parse_plan(json.loads(plan.to_text()), "test") == plan
    written = json.loads(plan.to_text())["configurations"]["3d_mae"]
    assert written["inherits_from"] == "3d_vit" and "preprocessing" not in written
    assert set(written["network"]) <= {"drop_path"}


def test_weights_of_the_planned_stage_fit_all_but_the_last_layer() -> None:
    plan = proposed(10, 40, CPU)
    networks = {n: task_named(c.task).network(DATASET, c) for n, c in plan.configurations.items()}
    outcome = transfer(networks["3d_mae"].state_dict(), networks["3d_vit"], "file")
    assert {name.rpartition(".")[0] for name in outcome.new} == {"decoder.head"}
    assert {name.split(".")[0] for name in outcome.unused} == {"filler", "decoder"}
    outcome = transfer(networks["3d_mae"].state_dict(), networks["3d_vit_linear"], "file")
    assert {name.split(".")[0] for name in outcome.new} == {"decoder"}


def test_without_labels_the_stage_stands_alone() -> None:
    plan = proposed(0, 5, CPU)
    assert list(plan.configurations) == ["3d_mae"]
    assert plan.configuration("3d_mae").inherits_from is None
    assert parse_plan(json.loads(plan.to_text()), "test") == plan
    alike = proposed(5, 5, CPU).configuration("3d_mae")
    assert plan.configuration("3d_mae").model_copy(update={"inherits_from": "3d_vit"}) == alike


def test_pretraining_without_masking_is_refused() -> None:
    mae = proposed(10, 40, CPU).configuration("3d_mae").model_copy(update={"masking": None})
    with pytest.raises(KneeformerError, match="needs `masking`"):
        task_named("pretraining").network(DATASET, mae)


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes cases into imagesTr (with labels) and imagesUn; an image's voxels are its own number and up."""

    def write(labelled: tuple[str, ...], unlabelled: tuple[str, ...], **about: object) -> Dataset:
        folder, grid = tmp_path / "Dataset001_Knee", Grid((4, 5, 6), (3.0, 1.0, 1.0))
        description = {"channel_names": {"0": "PD"}, "labels": LABELS, "file_ending": ".nrrd", **about}
        write_json(folder / "dataset.json", description)
        ramp = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
        for number, name in enumerate((*labelled, *unlabelled), 1):
            part = "Tr" if name in labelled else "Un"
            write_image(folder / f"images{part}" / f"{name}_0000.nrrd", ramp + 1000 * number, grid)
        for name in labelled:
            write_image(folder / "labelsTr" / f"{name}.nrrd", (ramp % 3).astype(np.uint8), grid)
        return Dataset.open(folder)

    return write


def fingerprinted(dataset: Dataset, tmp_path: Path) -> Fingerprint:
    return take_fingerprint(dataset, tmp_path / "preprocessed", 1, lambda *_: None)


def test_a_dataset_without_labels_is_measured_by_its_images(
    raw: Callable[..., Dataset], tmp_path: Path
) -> None:
    found = fingerprinted(raw((), ("u1_00m", "u1_12m", "u2")), tmp_path)
    assert set(found.cases) == {"u1_00m", "u1_12m", "u2"}
    assert (found.labelled, found.unlabelled) == (0, 2), "two subjects, three scans"
    assert (found.intensities[0].minimum, found.intensities[0].maximum) == (1000, 3119)


def test_beside_labelled_cases_images_without_labels_are_counted_by_new_subjects_and_not_measured(
    raw: Callable[..., Dataset], tmp_path: Path
) -> None:
    found = fingerprinted(raw(("a_00m", "b"), ("a_12m", "c_00m", "c_12m", "d")), tmp_path)
    assert set(found.cases) == {"a_00m", "b"}
    assert (found.labelled, found.unlabelled) == (2, 2), "c and d; a has labels"
    assert found.intensities[0].maximum < 3000


def test_persons_are_counted_as_dataset_json_names_them(raw: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = raw(("k1", "k2", "m_00m"), ("u1", "u2"), subjects={"k1": "anna", "k2": "anna", "u1": "anna"})
    found = fingerprinted(dataset, tmp_path)
    assert found.subjects == {"k1": "anna", "k2": "anna", "m_00m": "m"}
    assert (found.labelled_subjects, found.unlabelled) == (2, 1), "anna and m; u2"


def test_a_scan_of_two_names_is_told(
    raw: Callable[..., Dataset], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = raw(("a", "b"), ("c",))
    copy = (dataset.folder / "imagesTr" / "a_0000.nrrd").read_bytes()
    (dataset.folder / "imagesUn" / "c_0000.nrrd").write_bytes(copy)
    with caplog.at_level("WARNING"):
        fingerprinted(dataset, tmp_path)
    assert "a_0000.nrrd: the same voxels as c: one would train" in caplog.text
    assert caplog.text.count("the same voxels") == 1
