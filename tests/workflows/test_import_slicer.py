"""Folders of 3D Slicer and of the Decathlon as datasets."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from faulty_disks import largest_file

from kneeformer.data.check import check_case, check_layout
from kneeformer.data.dataset import Dataset
from kneeformer.data.disk import DiskError
from kneeformer.data.images import read_image, write_image
from kneeformer.data.segmentation_file import Segment, read_segments, write_segmentation
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.paths import Folders
from kneeformer.workflows.import_msd import import_msd
from kneeformer.workflows.import_slicer import Imported, import_slicer
from kneeformer.workflows.named_structures import NamedStructure, labels_of, named_structures, painted
from kneeformer.workflows.new_dataset import new_dataset_folder
from kneeformer.workflows.slicer_folder import slicer_folder

GRID = Grid((6, 8, 10), (3.0, 0.5, 0.5), (-10.0, 20.0, 30.0), (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
FEMUR, TIBIA = Segment("Femur", 1, colour=(0.1, 0.2, 0.3)), Segment("tibia", 2, colour=(0.4, 0.5, 0.6))


def voxels() -> np.ndarray:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1:4, 2:5, 3:8], labels[1:4, 5:7, 3:8] = 1, 2
    return labels


def cropped(grid: Grid, first: tuple[int, int, int], shape: tuple[int, int, int]) -> Grid:
    x, y, z = (grid.to_patient() @ [*first, 1.0])[:3].tolist()
    return Grid(shape, grid.spacing, (x, y, z), grid.direction)


def volume(folder: Path, name: str) -> None:
    write_image(folder / name, np.arange(480, dtype=np.int16).reshape(GRID.shape), GRID)


def imported(source: Path, target: Path, wanted: list[str] | None = None) -> Imported:
    return import_slicer(source, target, "PD", wanted, lambda *_: None)


def test_names_tell_structures_whatever_their_values_and_extents(tmp_path: Path) -> None:
    source, target = tmp_path / "slicer", tmp_path / "raw" / "Dataset007_Knee"
    for name in ("A.nrrd", "B.nrrd", "C.nrrd", "D.nrrd"):
        volume(source, name)
    write_segmentation(source / "A.seg.nrrd", voxels(), GRID, [FEMUR, TIBIA])
    part = cropped(GRID, (1, 2, 3), (3, 5, 5))
    write_segmentation(source / "B-segmentation.seg.nrrd", voxels()[1:4, 2:7, 3:8], part, [FEMUR, TIBIA])
    only = np.where(voxels() == 2, 2, 0).astype(np.uint8)
    write_segmentation(source / "Segmentation C.seg.nrrd", only, GRID, [Segment("TIBIA", 2)])
    write_segmentation(source / "lost.seg.nrrd", voxels(), GRID, [FEMUR])
    done = imported(source, target)
    assert (done.labelled, done.unlabelled) == (3, 1)
    assert [(s.name, s.value, s.cases) for s in done.structures] == [("Femur", 1, 2), ("tibia", 2, 3)]
    assert any("lost.seg.nrrd: no one volume has its name" in line for line in done.notes)
    assert "Femur: only in 2 of 3 segmentations; background in the others" in done.notes
    for name, labels in (("A", voxels()), ("B", voxels()), ("C", only)):
        image = read_image(target / "labelsTr" / f"{name}.nrrd")
        np.testing.assert_array_equal(image.array, labels)
        assert image.grid.mismatch(GRID) is None
    assert read_segments(target / "labelsTr" / "B.nrrd")[1].colour == TIBIA.colour
    dataset = Dataset.open(target)
    assert dataset.description.labels == {"background": 0, "Femur": 1, "tibia": 2}
    assert [c.name for c in dataset.training_cases()] == ["A", "B", "C"]
    assert [c.name for c in dataset.unlabelled_cases()] == ["D"]
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_a_full_disk_ends_the_import_and_leaves_no_part_of_a_dataset(tmp_path: Path) -> None:
    source, target = tmp_path / "slicer", tmp_path / "raw" / "Dataset007_Knee"
    noise = np.random.default_rng(0).integers(0, 9999, (24, *GRID.shape[1:]), np.int16)
    for case, scan in (("A", voxels().astype(np.int16)), ("B", noise)):
        grid = Grid(scan.shape, GRID.spacing, GRID.origin, GRID.direction)
        write_image(source / f"{case}.nrrd", scan, grid)
        write_segmentation(source / f"{case}.seg.nrrd", voxels(), GRID, [FEMUR, TIBIA])
    with largest_file(3000), pytest.raises(DiskError, match="larger than this disk"):
        imported(source, target)
    assert not list((tmp_path / "raw").iterdir())


def test_swapped_values_are_put_right(tmp_path: Path) -> None:
    source, target = tmp_path / "slicer", tmp_path / "Dataset007_Knee"
    for case, segments in (("A", [FEMUR, TIBIA]), ("B", [Segment("tibia", 1), Segment("femur", 2)])):
        volume(source / case, "scan.nrrd")
        write_segmentation(source / case / "Segmentation.seg.nrrd", voxels(), GRID, segments)
    imported(source, target)
    np.testing.assert_array_equal(read_image(target / "labelsTr" / "A.nrrd").array, voxels())
    swapped = np.choose(voxels(), [0, 2, 1])
    np.testing.assert_array_equal(read_image(target / "labelsTr" / "B.nrrd").array, swapped)


def test_segments_called_background_and_ignore_mean_that(tmp_path: Path) -> None:
    """What Slicer numbers 1 and 2 is no structure: 0, and above the last one, as dataset.json has it."""
    source, target = tmp_path / "slicer", tmp_path / "raw" / "Dataset007_Knee"
    labels = voxels() + np.uint8(1)
    labels[0] = 0
    labels[5] = 4
    segments = [Segment("Background", 1), Segment("Ignore", 2), Segment("tibia", 3), Segment("Femur", 4)]
    for name in ("A", "B"):
        volume(source, f"{name}.nrrd")
        write_segmentation(source / f"{name}.seg.nrrd", labels, GRID, segments)
    done = imported(source, target)
    assert "Background: is background, in 2 cases, and no structure" in done.notes
    dataset = Dataset.open(target)
    assert dataset.description.labels == {"background": 0, "tibia": 3, "Femur": 4, "ignore": 5}
    assert dataset.description.scheme.ignore == 5
    found = read_image(target / "labelsTr" / "A.nrrd").array
    np.testing.assert_array_equal(found, np.array([0, 0, 5, 3, 4], np.uint8)[labels])
    assert check_layout(dataset) == []
    assert [check_case(c, dataset.description).problems for c in dataset.training_cases()] == [[], []]


def two_layers(file: Path, first: np.ndarray, second: np.ndarray) -> None:
    """As Slicer writes femur and screw, which overlap."""
    write_segmentation(file, first.astype(np.uint8), GRID, [])
    head, _ = file.read_bytes().split(b"\n\n", 1)
    text = head.decode().replace("dimension: 3", "dimension: 4").replace("encoding: gzip", "encoding: raw")
    text = text.replace("sizes: ", "sizes: 2 ").replace("directions: ", "directions: none ")
    text = text.replace("kinds: ", "kinds: list ")
    for number, name in enumerate(("femur", "screw")):
        text += (
            f"\nSegment{number}_Name:={name}\nSegment{number}_LabelValue:=1\nSegment{number}_Layer:={number}"
        )
    both = np.stack([first, second], -1).astype(np.uint8)
    file.write_bytes(text.encode() + b"\n\n" + both.tobytes())


def test_a_screw_in_a_femur_makes_a_region_of_the_femur(tmp_path: Path) -> None:
    source, target = tmp_path / "slicer", tmp_path / "Dataset007_Knee"
    volume(source, "A.nrrd")
    femur, screw = voxels() > 0, np.zeros(GRID.shape, bool)
    screw[2, 3:6, 4] = True
    two_layers(source / "A.seg.nrrd", femur, screw)
    done = imported(source, target)
    description = Dataset.open(target).description
    assert description.labels == {"background": 0, "femur": [1, 2], "screw": 2}
    assert description.regions_class_order == [1, 2] and done.notes == []
    labels = read_image(target / "labelsTr" / "A.nrrd").array
    np.testing.assert_array_equal(description.scheme.structure(labels, "femur"), femur)
    np.testing.assert_array_equal(description.scheme.structure(labels, "screw"), screw)


def test_another_grid_is_resampled_and_said(tmp_path: Path) -> None:
    source, target = tmp_path / "slicer", tmp_path / "Dataset007_Knee"
    volume(source, "A.nrrd")
    fine = Grid((12, 8, 10), (1.5, 0.5, 0.5), GRID.origin, GRID.direction)
    write_segmentation(source / "A.seg.nrrd", voxels().repeat(2, axis=0), fine, [FEMUR, TIBIA])
    done = imported(source, target)
    assert done.notes == [f"{source / 'A.seg.nrrd'}: on another grid than A.nrrd; resampled onto it"]
    np.testing.assert_array_equal(read_image(target / "labelsTr" / "A.nrrd").array, voxels())


def test_what_lies_outside_of_the_volume_is_left_out_and_said(tmp_path: Path) -> None:
    source, target = tmp_path / "slicer", tmp_path / "Dataset007_Knee"
    volume(source, "A.nrrd")
    moved = cropped(GRID, (-2, 0, 0), GRID.shape)
    write_segmentation(source / "A.seg.nrrd", voxels(), moved, [FEMUR, TIBIA])
    done = imported(source, target)
    expected = np.concatenate([voxels()[2:], np.zeros((2, 8, 10), np.uint8)])
    np.testing.assert_array_equal(read_image(target / "labelsTr" / "A.nrrd").array, expected)
    assert done.notes == [f"{source / 'A.seg.nrrd'}: 25 voxels lie outside of A.nrrd; left out"]


def test_only_what_is_wanted(tmp_path: Path) -> None:
    source = tmp_path / "slicer"
    volume(source, "A.nrrd")
    write_segmentation(source / "A.seg.nrrd", voxels(), GRID, [FEMUR, TIBIA])
    with pytest.raises(KneeformerError, match="no segment is called patella; there are Femur, tibia"):
        imported(source, tmp_path / "Dataset001_A", ["patella"])
    assert not (tmp_path / "Dataset001_A").exists()
    done = imported(source, tmp_path / "Dataset001_A", ["TIBIA"])
    assert done.notes == ["Femur: left out, in 1 cases"]
    assert set(np.unique(read_image(tmp_path / "Dataset001_A" / "labelsTr" / "A.nrrd").array)) == {0, 2}


def test_nothing_is_left_of_an_import_that_fails(tmp_path: Path) -> None:
    (tmp_path / "slicer").mkdir()
    with pytest.raises(KneeformerError, match="no volume has a segmentation"):
        imported(tmp_path / "slicer", tmp_path / "raw" / "Dataset001_A")
    volume(tmp_path / "slicer", "A.nrrd")
    write_segmentation(tmp_path / "slicer" / "A.seg.nrrd", voxels() * 0, GRID, [FEMUR])
    with pytest.raises(KneeformerError, match="no case could be imported"):
        imported(tmp_path / "slicer", tmp_path / "raw" / "Dataset001_A")
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_volume_with_two_segmentations_keeps_the_first(tmp_path: Path) -> None:
    volume(tmp_path, "A.nrrd")
    for name in ("A.seg.nrrd", "A-segmentation.seg.nrrd"):
        write_segmentation(tmp_path / name, voxels(), GRID, [FEMUR])
    found = slicer_folder(tmp_path)
    (case,) = found.cases
    assert case.segmentation is not None and len(found.ignored) == 1 and "already" in found.ignored[0]


def test_what_lies_below_a_hidden_folder_is_left_alone(tmp_path: Path) -> None:
    for place in (".Trash-1000/files", "P1/.snapshot/hourly.0", "P1"):
        volume(tmp_path / place, "scan.nrrd")
    assert [case.volumes for case in slicer_folder(tmp_path).cases] == [(tmp_path / "P1" / "scan.nrrd",)]


def test_a_label_map_without_segments_is_no_scan(tmp_path: Path) -> None:
    for name in ("A.nrrd", "A-label.nrrd", "B-seg.nii.gz", "labels.nrrd"):
        volume(tmp_path, name)
    write_segmentation(tmp_path / "A.seg.nrrd", voxels(), GRID, [FEMUR])
    found = slicer_folder(tmp_path)
    assert [case.name for case in found.cases] == ["A", "B-seg", "labels"]
    assert found.cases[0].segmentation == tmp_path / "A.seg.nrrd"
    (line,) = found.ignored
    assert line.startswith(f"{tmp_path / 'A-label.nrrd'}: named as the label map of a volume here")


def test_values_are_numbered_where_files_disagree() -> None:
    found = named_structures([[Segment("a", 1), Segment("b", 2)], [Segment("B", 1), Segment("c", 5)]])
    assert [(s.key, s.value, s.cases) for s in found] == [("a", 1, 1), ("b", 2, 2), ("c", 3, 1)]


def test_parts_of_parts_are_regions_in_regions() -> None:
    structures = [
        NamedStructure("leg", "leg", 3, 1),
        NamedStructure("bone", "bone", 1, 1, parts_of=("leg",)),
        NamedStructure("screw", "screw", 2, 1, parts_of=("leg", "bone")),
    ]
    assert labels_of(structures) == ({"leg": [3, 1, 2], "bone": [1, 2], "screw": 2}, [3, 1, 2])


def test_shared_voxels_go_to_the_later_structure_and_are_told() -> None:
    structures = [NamedStructure("a", "A", 1, 1), NamedStructure("b", "B", 2, 1)]
    masks = {"a": np.array([1, 1, 1, 0], bool), "b": np.array([0, 0, 1, 1], bool)}
    labels, lines = painted(structures, masks, (4,))
    assert labels.tolist() == [1, 1, 2, 2] and lines == ["1 voxels are of A and of B: taken as B"]


def test_a_number_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Dataset007_Hip").mkdir()
    folders = Folders(tmp_path, tmp_path, tmp_path)
    with pytest.raises(KneeformerError, match="dataset 7 exists already"):
        new_dataset_folder(folders, 7, "Knee")
    with pytest.raises(KneeformerError, match="plain name"):
        new_dataset_folder(folders, 8, "../Knee")
    assert new_dataset_folder(folders, 8, "Knee") == tmp_path / "Dataset008_Knee"


def decathlon(folder: Path, channels: int) -> None:
    rng, affine = np.random.default_rng(0), np.diag([0.5, 0.6, 3.0, 1.0])
    shape = (6, 5, 4, channels) if channels > 1 else (6, 5, 4)
    for name in ("imagesTr/k_1", "imagesTs/k_2"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(rng.random(shape, np.float32), affine), folder / f"{name}.nii.gz")
    (folder / "labelsTr").mkdir()
    labels = nibabel.Nifti1Image(rng.integers(0, 3, (6, 5, 4)).astype(np.uint8), affine)
    nibabel.save(labels, folder / "labelsTr" / "k_1.nii.gz")
    content = {
        "modality": {str(i): f"M{i}" for i in range(channels)},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": [{"image": "./imagesTr/k_1.nii.gz", "label": "./labelsTr/k_1.nii.gz"}],
        "test": ["./imagesTs/k_2.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_decathlon_folder(channels: int, tmp_path: Path) -> None:
    decathlon(tmp_path / "Task04_X", channels)
    target = tmp_path / "raw" / "Dataset004_X"
    assert import_msd(tmp_path / "Task04_X", target, lambda *_: None) == (1, 1)
    dataset = Dataset.open(target)
    assert dataset.description.labels == {"background": 0, "Anterior": 1, "Posterior": 2}
    (case,) = dataset.training_cases()
    assert len(case.images) == channels and all(path.is_file() for path in case.files)
    stored = np.asarray(nibabel.load(tmp_path / "Task04_X" / "imagesTr" / "k_1.nii.gz").dataobj)
    for number, path in enumerate(case.images):
        expected = stored[..., number] if channels > 1 else stored
        image = read_image(path)
        np.testing.assert_array_equal(image.array, expected.transpose(2, 1, 0))
        assert image.grid.spacing == pytest.approx((3.0, 0.6, 0.5))


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        ({"background": "0", "femur": "1", "tibia": 2}, {"background": 0, "femur": 1, "tibia": 2}),
        ({"0": "air", "1": "bone", "2": "bone"}, {"background": 0, "bone": [1, 2]}),
        ({"0": "background", "1": "femur", "2": "background"}, {"background": [0, 2], "femur": 1}),
    ],
)
def test_labels_and_test_cases_of_a_decathlon_that_are_written_otherwise(
    labels: dict[str, str | int], read: dict[str, int | list[int]], tmp_path: Path
) -> None:
    decathlon(tmp_path / "Task04_X", 1)
    file, target = tmp_path / "Task04_X" / "dataset.json", tmp_path / "raw" / "Dataset004_X"
    tests = [{"image": "./imagesTs/k_2.nii.gz"}]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"labels": labels, "test": tests}))
    assert import_msd(tmp_path / "Task04_X", target, lambda *_: None) == (1, 1)
    dataset = Dataset.open(target)
    assert dataset.description.labels == read
    (case,) = dataset.training_cases()
    assert check_case(case, dataset.description).problems == []
    file.write_text(json.dumps(json.loads(file.read_text()) | {"test": [7]}))
    with pytest.raises(KneeformerError, match=r"test\.0"):
        import_msd(tmp_path / "Task04_X", tmp_path / "raw" / "Dataset005_X", lambda *_: None)


def test_images_of_one_name_in_several_folders_are_refused(tmp_path: Path) -> None:
    decathlon(tmp_path / "Task04_X", 1)
    file = tmp_path / "Task04_X" / "dataset.json"
    content = json.loads(file.read_text())
    (tmp_path / "Task04_X" / "more").mkdir()
    shutil.copy(tmp_path / "Task04_X" / "imagesTr" / "k_1.nii.gz", tmp_path / "Task04_X" / "more")
    content["training"].append({"image": "./more/k_1.nii.gz", "label": "./labelsTr/k_1.nii.gz"})
    file.write_text(json.dumps(content))
    with pytest.raises(KneeformerError, match=r"more/k_1\.nii\.gz: .* two images called k_1"):
        import_msd(tmp_path / "Task04_X", tmp_path / "raw" / "Dataset004_X", lambda *_: None)
    assert not list((tmp_path / "raw").iterdir())


def test_a_decathlon_folder_with_a_missing_file_leaves_nothing(tmp_path: Path) -> None:
    decathlon(tmp_path / "Task04_X", 1)
    (tmp_path / "Task04_X" / "imagesTs" / "k_2.nii.gz").unlink()
    with pytest.raises(KneeformerError, match=r"k_2\.nii\.gz: no such file"):
        import_msd(tmp_path / "Task04_X", tmp_path / "raw" / "Dataset004_X", lambda *_: None)
    assert not list((tmp_path / "raw").iterdir())
