"""Only what is stale or damaged is prepared again, and then it is as it should be."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from prepared import LABELLED, NAME, SHAPE, SPLITS, VIT, Place, plan

from kneeformer.data.dataset import Case, Dataset
from kneeformer.data.disk import DiskError
from kneeformer.data.files import unfinished, write_json
from kneeformer.data.images import write_image
from kneeformer.data.storage import image_file, labels_file, open_case, record_file
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.plans import override
from kneeformer.shape_models.settings import RegistrationSettings
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneGridSettings
from kneeformer.workflows.prepared import files_digest
from kneeformer.workflows.preprocess import preprocess_cases, preprocess_dataset

pytestmark = pytest.mark.slow

GRID = Grid(SHAPE, (1.0, 1.0, 1.0))
SCAN = np.arange(256, dtype=np.int16).reshape(SHAPE)
LABELS = (SCAN % 3 == 0).astype(np.uint8)


def test_what_is_damaged_or_stale_is_made_again_and_nothing_else(place: Place) -> None:
    for case in LABELLED:  # files that can be read, and cases that are up to date with them
        write_image(place.raw / "imagesTr" / f"{case}_0000.nrrd", SCAN, GRID)
        write_image(place.raw / "labelsTr" / f"{case}.nrrd", LABELS, GRID)
    place.prepare(LABELLED)
    folder = place.prepared
    cut, lost, empty, flipped, drawn, untouched = LABELLED
    image_file(folder, cut).write_bytes(image_file(folder, cut).read_bytes()[:-1])
    labels_file(folder, lost).unlink()
    record_file(folder, empty).write_text("{}")
    content = bytearray(image_file(folder, flipped).read_bytes())
    content[len(content) // 2] ^= 4
    image_file(folder, flipped).write_bytes(content)
    write_image(place.raw / "labelsTr" / f"{drawn}.nrrd", 1 - LABELS, GRID)
    written = record_file(folder, untouched).stat().st_mtime_ns
    left = unfinished(image_file(folder, cut))
    left.touch()

    dataset, configuration = Dataset.open(place.raw), plan().configuration("3d_vit")
    work = (dataset.training_cases(), dataset, configuration, folder, 1, lambda *_: None, True)
    assert (preprocess_cases(*work), preprocess_cases(*work)) == (5, 0)
    assert record_file(folder, untouched).stat().st_mtime_ns == written
    assert not left.exists()
    for case in (cut, lost, empty, flipped, drawn):
        stored = open_case(folder, case)
        assert stored.labels is not None
        assert np.array_equal(stored.image[0], SCAN)
        assert np.array_equal(stored.labels[:], 1 - LABELS if case == drawn else LABELS)
    assert place.learnt(VIT)[0] == set(SPLITS[0]["train"])


def test_of_two_files_of_one_label_map_none_is_taken(place: Place) -> None:
    corrected = place.raw / "labelsTr" / "a_00m.nii.gz"
    write_image(corrected, LABELS, GRID)
    message = re.escape("a_00m.nii.gz and a_00m.nrrd are two files of one name, a_00m; move one elsewhere")
    with pytest.raises(KneeformerError, match=message):
        preprocess_dataset(place.folders, plan(), ["3d_vit"], 1, lambda *_: None)
    with pytest.raises(KneeformerError, match=message):
        place.learnt(VIT)


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_other_voxels_beside_the_same_header_make_a_case_stale(tmp_path: Path, ending: str) -> None:
    header = tmp_path / f"K01{ending}"
    write_image(header, LABELS, GRID)
    (voxels,) = {*tmp_path.iterdir()} - {header}
    case = Case("K01", (header,))
    before = files_digest(case)
    assert files_digest(case) == before
    os.utime(voxels, (1, 1))
    assert files_digest(case) != before


def test_structures_that_are_lost_on_the_grid_of_the_plan_are_told(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """A layer of one voxel, of which three become one: 3/9 of it, and 6/9 of background."""
    fine, thick, thin = Grid(SHAPE, (1.0, 1.0, 1 / 3)), np.zeros((2, *SHAPE), np.uint8), "a_00m"
    thick[0, ..., 4], thick[1, ..., 2:6] = 1, 1
    for case in LABELLED:
        write_image(place.raw / "imagesTr" / f"{case}_0000.nrrd", SCAN, fine)
        write_image(place.raw / "labelsTr" / f"{case}.nrrd", thick[int(case != thin)], fine)
    dataset, configuration = Dataset.open(place.raw), plan().configuration("3d_vit")
    cases = dataset.training_cases()
    preprocess_cases(cases, dataset, configuration, place.prepared, 1, lambda *_: None, True)
    (warning,) = caplog.messages
    assert warning.endswith("a_00m.nrrd: too thin for the spacing of the plan, and background there: femur")
    assert warning.startswith("1 warnings:")


def test_two_kinds_of_cases_are_not_kept_in_one_folder(place: Place) -> None:
    mixed = plan()
    other = override(mixed, "3d_mae", ["preprocessing.spacing=[2,2,2]"]).configuration("3d_mae")
    mixed = mixed.model_copy(update={"configurations": {**mixed.configurations, "3d_mae": other}})
    with pytest.raises(KneeformerError, match="3d_vit and 3d_mae keep their cases in one folder, 3d_vit"):
        preprocess_dataset(place.folders, mixed, ["3d_vit"], 1, lambda *_: None)


def test_a_plan_of_another_dataset_json_is_refused(place: Place) -> None:
    place.write(NAME, {}, channel_names={"0": "T2"})
    with pytest.raises(KneeformerError, match=r"channel_names: planned \('PD',\), now \('T2',\)"):
        preprocess_dataset(place.folders, plan(), ["3d_vit"], 1, lambda *_: None)


def test_a_case_that_cannot_be_prepared_is_named_once(place: Place) -> None:
    for case in LABELLED:
        write_image(place.raw / "imagesTr" / f"{case}_0000.nrrd", SCAN, GRID)
        write_image(place.raw / "labelsTr" / f"{case}.nrrd", LABELS, GRID)
    image = place.raw / "imagesTr" / f"{LABELLED[0]}_0000.nrrd"
    image.write_bytes(image.read_bytes()[:-9])
    with pytest.raises(KneeformerError) as fault:
        preprocess_dataset(place.folders, plan(), ["3d_vit"], 1, lambda *_: None)
    first, *lines = str(fault.value).splitlines()
    assert first.startswith(f"1 of {len(LABELLED)} cases could not be preprocessed")
    assert [line.split(": ")[0].strip() for line in lines] == [str(image)]


def test_a_fault_of_the_disk_ends_the_work_at_once(place: Place) -> None:
    for case in LABELLED:
        write_image(place.raw / "imagesTr" / f"{case}_0000.nrrd", SCAN, GRID)
        write_image(place.raw / "labelsTr" / f"{case}.nrrd", LABELS, GRID)
    image_file(place.prepared, LABELLED[0]).unlink()
    image_file(place.prepared, LABELLED[0]).mkdir()  # a folder in the way of the first file
    with pytest.raises(DiskError, match=rf"{LABELLED[0]}\.b2nd: a folder, where a file belongs"):
        preprocess_dataset(place.folders, plan(), ["3d_vit"], 1, lambda *_: None)


def test_what_is_missing_of_a_prepared_bone_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A rod from -20 to 20 mm of its middle, on a grid that reaches 17.5 mm: 6 slices of 41 are outside."""
    rod = np.zeros((60, 20, 20), np.uint8)
    rod[10:51, 8:13, 8:13] = 1
    raw, grid = tmp_path / "Dataset002_Rod", Grid((60, 20, 20), (1.0, 1.0, 1.0))
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "rod": 1}, "task": "completion"}
    write_json(raw / "dataset.json", {**about, "file_ending": ".nrrd"})
    write_image(raw / "imagesTr" / "a_0000.nrrd", 900 * rod.astype(np.int16), grid)
    write_image(raw / "labelsTr" / "a.nrrd", rod, grid)
    dataset = Dataset.open(raw)
    bones = BoneConfiguration(
        task="registration",
        preprocessing=BoneGridSettings(folder="bones", spacing=(1.0, 1.0, 1.0), grid=(36, 20, 20)),
        registration=RegistrationSettings(),
        training=plan().configuration("3d_vit").training,
    )
    made = preprocess_cases(dataset.training_cases(), dataset, bones, tmp_path, 1, lambda *_: None, True)
    assert made == 1
    assert f"{raw / 'labelsTr' / 'a.nrrd'}: 14.6% of the bone, up to 2 mm, lie outside" in caplog.text
