"""Every bad input that the dataset check knows, each with its message."""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk

from kneeformer.data.check import CheckedCase, check_case, check_layout, layout_warnings
from kneeformer.data.dataset import Case, Dataset
from kneeformer.data.images import FILE_ENDINGS, write_image
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import turn

MakeDataset = Callable[..., Dataset]
GRID = Grid((4, 5, 6), (3.0, 1.0, 1.0))
RAMP = np.arange(120, dtype=np.int16).reshape(4, 5, 6)


def layout(dataset: Dataset) -> list[str]:
    """Problems of the layout, without the folder before each."""
    return [line.removeprefix(f"{dataset.folder}/") for line in check_layout(dataset)]


def check(dataset: Dataset, name: str = "a") -> CheckedCase:
    return check_case({c.name: c for c in dataset.training_cases()}[name], dataset.description)


def problems(dataset: Dataset, name: str = "a") -> list[str]:
    return [line.removeprefix(f"{dataset.folder}/") for line in check(dataset, name).problems]


class TestLayout:
    def test_sound(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()  # its numTraining says 99
        (dataset.folder / "imagesTr" / "README.txt").touch()
        (dataset.folder / "labelsTr" / ".hidden.nrrd").touch()
        assert check_layout(dataset) == []

    def test_missing_channel(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(channel_names={"0": "PD", "1": "T2"})
        (dataset.folder / "imagesTr/a_0001.nrrd").unlink()
        assert layout(dataset) == [
            "imagesTr/a_0001.nrrd: missing; every case needs 2 file(s), one per channel: add it or remove a"
        ]

    def test_extra_channel(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        write_image(dataset.folder / "imagesTr/a_0001.nrrd", RAMP, GRID)
        assert layout(dataset) == [
            "imagesTr/a_0001.nrrd: extra channel 0001: dataset.json names 1 (PD); name it there or remove it"
        ]

    def test_names_that_are_one_to_a_disk_or_lead_elsewhere(self, make_dataset: MakeDataset) -> None:
        names = ("K01", "k01", "../b", "Summary", "K01_seg", "K02.json")
        entry = {"images": ["imagesTr/a_0000.nrrd"], "label": "labelsTr/a.nrrd"}
        lines = check_layout(make_dataset(dataset=dict.fromkeys(names, entry)))
        assert [re.split(r":| are the same name", line.split(": ", 1)[1])[0] for line in lines] == [
            "a case cannot be called '../b'",
            "a case cannot be called 'Summary'",
            "'K01' and 'k01'",
        ]

    def test_names_that_look_the_same(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(cases=("K 01", "K\u00a001", "K02", "K\u200b02", "K03"))
        assert [line.split(": ")[1].split(";")[0] for line in layout(dataset)] == [
            r"'K 01' and 'K\xa001' look the same",
            r"'K02' and 'K\u200b02' look the same",
        ]

    def test_entries_of_no_case_are_warned_of(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(subjects={"a": "1", "A": "1", "t": "2"}, sides={"b": "left", "c": "left"})
        write_image(dataset.folder / "imagesTs/t_0000.nrrd", RAMP, GRID)
        file = dataset.folder / "dataset.json"
        assert layout_warnings(dataset) == [
            f"{file}: subjects: there is no case 'A'; correct the name or remove it",
            f"{file}: sides: there is no case 'c'; correct the name or remove it",
        ]

    def test_a_test_case_of_a_training_subject_is_warned_of(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(cases=("a_00m", "b"))
        for name in ("a_12m", "c"):
            write_image(dataset.folder / f"imagesTs/{name}_0000.nrrd", RAMP, GRID)
        assert layout_warnings(dataset) == [
            f"{dataset.folder}/imagesTs/a_12m_0000.nrrd: its subject is in imagesTr too, so its scores will "
            f"be too good"
        ]

    def test_subjects_that_look_the_same_are_warned_of(self, make_dataset: MakeDataset) -> None:
        """One of them would train and the other validate."""
        dataset = make_dataset(cases=("P1_V1", "p1_V2", "c", "d"), subjects={"c": "Q 2", "d": "Q  2 "})
        advice = "count as several people; if they are one, give their cases one name in subjects"
        assert layout_warnings(dataset) == [
            f"{dataset.folder}/dataset.json: the subjects 'P1' and 'p1' {advice}",
            f"{dataset.folder}/dataset.json: the subjects 'Q  2 ' and 'Q 2' {advice}",
        ]

    def test_image_without_label(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        (dataset.folder / "labelsTr/b.nrrd").unlink()
        assert layout(dataset) == [
            f"imagesTr/b_0000.nrrd: no label for this image; add {dataset.folder}/labelsTr/b.nrrd, "
            "or move the image to imagesUn, the folder of images without labels"
        ]

    def test_label_without_image(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        (dataset.folder / "imagesTr/b_0000.nrrd").unlink()
        assert layout(dataset) == [
            "labelsTr/b.nrrd: no image for this label; add it to imagesTr or remove it"
        ]

    def test_stray_files(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        for stray in ("imagesTr/knee.nrrd", "imagesTr/b_0000.nii.gz", "labelsTr/a.seg.nrrd"):
            (dataset.folder / stray).touch()
        labels, images = dataset.folder / "labelsTr", dataset.folder / "imagesTr"
        assert check_layout(dataset) == [
            f"{images}: b_0000.nii.gz and b_0000.nrrd are two files of one name, b_0000; move one elsewhere",
            f"{labels}: a.nrrd and a.seg.nrrd are two files of one name, a; move one elsewhere",
            f"{images}/knee.nrrd: not called CASE_0000.nrrd (0000 is the channel's number); rename or "
            "remove it",
        ]

    def test_files_of_any_format_without_numbers_or_ending_in_dataset_json(
        self, make_dataset: MakeDataset
    ) -> None:
        folder = make_dataset().folder
        (folder / "imagesTr/a_0000.nrrd").rename(folder / "imagesTr/a.nrrd")
        (folder / "labelsTr/a.nrrd").rename(folder / "labelsTr/a.seg.nrrd")
        (folder / "imagesTr/b_0000.nrrd").unlink()
        write_image(folder / "imagesTr/b.nii.gz", RAMP, GRID)
        description = json.loads((folder / "dataset.json").read_text())
        del description["file_ending"]
        (folder / "dataset.json").write_text(json.dumps(description))
        dataset = Dataset.open(folder)
        assert check_layout(dataset) == [] and dataset.description.file_ending == ".nrrd"
        assert problems(dataset, "a") == problems(dataset, "b") == []
        names = [[file.name for file in case.files] for case in dataset.training_cases()]
        assert names == [["a.nrrd", "a.seg.nrrd"], ["b.nii.gz", "b.nrrd"]]
        (folder / "imagesTr/c.h5").touch()
        assert Dataset.open(folder).description.file_ending == ".h5"  # or k-space would be left out

    def test_images_without_labels_are_checked_too(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(channel_names={"0": "PD", "1": "T2"})
        write_image(dataset.folder / "imagesUn/u_0000.nrrd", RAMP, GRID)
        assert [line.split(";")[0] for line in layout(dataset)] == ["imagesUn/u_0001.nrrd: missing"]

    def test_strays_among_images_without_labels(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        for name in ("t_0000", "u_0001"):
            write_image(dataset.folder / f"imagesUn/{name}.nrrd", RAMP, GRID)
        (dataset.folder / "imagesUn/v.nrrd").touch()
        assert [line.split(";")[0] for line in layout(dataset)] == [
            "imagesUn/u_0000.nrrd: missing",
            "imagesUn/u_0001.nrrd: extra channel 0001: dataset.json names 1 (PD)",
            "imagesUn/v.nrrd: not called CASE_0000.nrrd (0000 is the channel's number)",
        ]

    def test_images_without_labels_alone_are_a_dataset(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(cases=())
        write_image(dataset.folder / "imagesUn/u_0000.nrrd", RAMP, GRID)
        assert check_layout(dataset) == []
        (case,) = dataset.unlabelled_cases()
        checked = check_case(case, dataset.description)
        assert checked.problems == [] and checked.label is None and checked.images is not None

    def test_labels_without_images_are_found_beside_images_without_labels(
        self, make_dataset: MakeDataset
    ) -> None:
        dataset = make_dataset(cases=("a",))
        (dataset.folder / "imagesTr/a_0000.nrrd").rename(dataset.folder / "imagesTr/a")
        write_image(dataset.folder / "imagesUn/u_0000.nrrd", RAMP, GRID)
        assert layout(dataset) == [
            "labelsTr/a.nrrd: no image for this label; add it to imagesTr or remove it"
        ]

    def test_a_case_with_two_places(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(cases=("a", "b", "c"))
        for name in ("c", "a", "u", "b_12m"):
            write_image(dataset.folder / f"imagesUn/{name}_0000.nrrd", RAMP, GRID)
        assert layout(dataset) == [
            f"imagesUn: {name} is in imagesTr too; a case has one place: remove one" for name in ("a", "c")
        ]

    def test_a_listed_case_with_two_places(self, make_dataset: MakeDataset) -> None:
        listed = {"k": {"images": ["scans/k.nrrd"], "label": "masks/k.nrrd"}}
        dataset = make_dataset(cases=(), dataset=listed)
        for file in ("scans/k.nrrd", "masks/k.nrrd", "imagesUn/k_0000.nrrd"):
            write_image(dataset.folder / file, RAMP, GRID)
        assert layout(dataset) == ["imagesUn: k is in imagesTr too; a case has one place: remove one"]

    def test_no_cases(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(cases=())
        assert layout(dataset) == [
            "imagesTr: no cases; put one file per channel there, called CASE_0000.nrrd, "
            "or into imagesUn where there are no labels"
        ]

    def test_files_listed_in_dataset_json(self, make_dataset: MakeDataset) -> None:
        listed = {"k": {"images": ["scans/k.nrrd"], "label": "masks/k.nrrd"}}
        dataset = make_dataset(cases=(), dataset=listed)
        assert [line.split(":")[0] for line in layout(dataset)] == ["scans/k.nrrd", "scans/k.nrrd"]
        write_image(dataset.folder / "scans/k.nrrd", RAMP, GRID)
        write_image(dataset.folder / "masks/k.nrrd", RAMP, GRID)
        assert layout(dataset) == []


class TestSoundCase:
    @pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".nii", ".mha", ".mhd", ".seg.nrrd"])
    def test_arrays_and_grid(self, make_dataset: MakeDataset, ending: str) -> None:
        dataset = make_dataset(ending=ending, channel_names={"0": "PD", "1": "T2"})
        checked = check(dataset)
        assert check_layout(dataset) == checked.problems == []
        assert checked.images is not None and checked.label is not None
        assert checked.images.dtype == np.int16 and checked.label.dtype == np.uint8
        np.testing.assert_array_equal(checked.images, np.stack([RAMP, RAMP]))
        np.testing.assert_array_equal(checked.label, RAMP % 3)
        assert checked.grid == GRID

    def test_without_label(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        checked = check_case(Case("a", (dataset.folder / "imagesTr/a_0000.nrrd",)), dataset.description)
        assert checked.problems == [] and checked.label is None

    @pytest.mark.parametrize(
        ("stored", "kept"),
        [
            (np.uint8, np.uint8),
            (np.uint16, np.uint16),
            (np.float32, np.float32),
            (np.float64, np.float32),
            (np.int64, np.float32),
            (np.uint32, np.float32),
        ],
    )
    def test_types(self, make_dataset: MakeDataset, stored: type, kept: type) -> None:
        dataset = make_dataset()
        write_image(dataset.folder / "imagesTr/a_0000.nrrd", RAMP.astype(stored), GRID)
        images = check(dataset).images
        assert images is not None and images.dtype == kept
        np.testing.assert_array_equal(images[0], RAMP)

    def test_whole_floats_are_labels(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        write_image(dataset.folder / "labelsTr/a.nrrd", (RAMP % 3).astype(np.float32), GRID)
        checked = check(dataset)
        assert checked.problems == []
        assert checked.label is not None and checked.label.dtype == np.uint8

    def test_regions_and_ignore(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(
            labels={"background": 0, "bone": [1, 2], "cartilage": 300, "ignore": 400},
            regions_class_order=[1, 300],
        )
        values = np.array([0, 1, 2, 300, 400], dtype=np.int16)
        write_image(dataset.folder / "labelsTr/a.nrrd", values[RAMP % 5], GRID)
        checked = check(dataset)
        assert checked.problems == []
        assert checked.label is not None and checked.label.dtype == np.int16

    def test_channels_and_labels_stored_otherwise_come_as_the_first_channel(
        self, make_dataset: MakeDataset
    ) -> None:
        dataset = make_dataset(channel_names={"0": "PD", "1": "T2"})
        stored = GRID.orientation()
        for name, array, other in (
            ("imagesTr/a_0000.nrrd", RAMP, stored),
            ("imagesTr/a_0001.nrrd", RAMP + 500, "ARI"),
            ("labelsTr/a.nrrd", (RAMP % 3).astype(np.uint8), "IRA"),
        ):
            write_image(dataset.folder / name, turn(array, stored, other), GRID.turned(other))
        checked = check(dataset)
        assert checked.problems == [] and checked.grid == GRID
        assert checked.images is not None and np.array_equal(checked.images, [RAMP, RAMP + 500])
        assert np.array_equal(checked.label, RAMP % 3)


class TestBadCase:
    def test_channels_on_other_grids(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(channel_names={"0": "PD", "1": "T2"})
        smaller = Grid((4, 5, 5), GRID.spacing)
        write_image(dataset.folder / "imagesTr/a_0001.nrrd", RAMP[:, :, :5], smaller)
        assert problems(dataset) == [
            "imagesTr/a_0001.nrrd: its grid differs from a_0000.nrrd: "
            "size 4 x 5 x 5 against 4 x 5 x 6 voxels; resample one onto the other"
        ]
        assert check(dataset).images is None

    @pytest.mark.parametrize(
        ("grid", "words"),
        [
            (Grid((4, 5, 6), (3.5, 1, 1)), "spacing 3.5 x 1 x 1 against 3 x 1 x 1 mm"),
            (
                Grid((4, 5, 6), (3, 1, 1), (0, 0, 2)),
                "same size and spacing, but corners 2 mm apart (origin or direction differ)",
            ),
        ],
    )
    def test_label_on_another_grid(self, make_dataset: MakeDataset, grid: Grid, words: str) -> None:
        dataset = make_dataset()
        write_image(dataset.folder / "labelsTr/a.nrrd", (RAMP % 3).astype(np.uint8), grid)
        assert problems(dataset) == [
            f"labelsTr/a.nrrd: its grid differs from a_0000.nrrd: {words}; resample one onto the other"
        ]

    @pytest.mark.parametrize(
        ("values", "listed"),
        [
            ([0, 1, 7, 9], "7, 9"),
            ([0, -1, 2], "-1"),
            ([0, 1, 70000], "70000"),
            (list(range(16)), "3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 3 more"),
        ],
    )
    def test_values_not_declared(self, make_dataset: MakeDataset, values: list[int], listed: str) -> None:
        dataset = make_dataset()
        label = np.array(values, dtype=np.int32)[RAMP % len(values)]
        write_image(dataset.folder / "labelsTr/a.nrrd", label, GRID)
        assert problems(dataset) == [
            f"labelsTr/a.nrrd: label values {listed} are not declared in dataset.json, which has 0, 1, 2; "
            "declare them, or give the file the values declared"
        ]
        assert check(dataset).label is None

    @pytest.mark.parametrize(("value", "words"), [(0, "background"), (3, "background and ignored voxels")])
    def test_no_structure(self, make_dataset: MakeDataset, value: int, words: str) -> None:
        dataset = make_dataset(labels={"background": 0, "femur": 1, "ignore": 3}, cases=("a",))
        write_image(dataset.folder / "labelsTr/a.nrrd", np.full((4, 5, 6), value, np.uint8), GRID)
        assert problems(dataset) == [
            f"labelsTr/a.nrrd: holds no structure, only {words}; draw one, or move its image to imagesUn"
        ]

    def test_a_value_that_is_mapped_to_background_is_no_structure(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(labels={"background": [0, 3], "femur": 1}, cases=("a",))
        write_image(dataset.folder / "labelsTr/a.nrrd", np.full((4, 5, 6), 3, np.uint8), GRID)
        (line,) = problems(dataset)
        assert line.startswith("labelsTr/a.nrrd: holds no structure, only background; ")

    def test_fractions_as_labels(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        smooth = np.where(RAMP < 4, 0.5, RAMP % 3).astype(np.float32)
        write_image(dataset.folder / "labelsTr/a.nrrd", smooth, GRID)
        assert problems(dataset) == [
            "labelsTr/a.nrrd: 4 label voxels are not whole numbers (probabilities, or resampled with "
            "interpolation?); export label values, with nearest-neighbour interpolation"
        ]

    def test_rounding_of_a_scaled_file(self, make_dataset: MakeDataset) -> None:
        """scl_slope in float32 makes 0.9999999 of 1; up to 1e-3 it is the number."""
        dataset = make_dataset(ending=".nii.gz")
        for off in (1e-7, 9e-4):
            write_image(dataset.folder / "labelsTr/a.nii.gz", (RAMP % 3 - off).astype(np.float32), GRID)
            checked = check_case(dataset.training_cases()[0], dataset.description)
            assert not checked.problems and checked.label is not None and checked.label.dtype == np.uint8
            np.testing.assert_array_equal(checked.label, RAMP % 3)
        write_image(dataset.folder / "labelsTr/a.nii.gz", (RAMP % 3 - 2e-3).astype(np.float32), GRID)
        assert "120 label voxels are not whole numbers" in problems(dataset)[0]

    @pytest.mark.parametrize("ending", FILE_ENDINGS)
    @pytest.mark.parametrize(("value", "dtype"), [(300, np.int16), (40000, np.int32), (65535, np.int32)])
    def test_large_values_stay(self, make_dataset: MakeDataset, ending: str, value: int, dtype: type) -> None:
        dataset = make_dataset(ending=ending, labels={"background": 0, "femur": 1, "screw": value})
        label = np.array([0, 1, value], np.uint16)[RAMP % 3]
        write_image(dataset.folder / f"labelsTr/a{ending}", label, GRID)
        checked = check_case(dataset.training_cases()[0], dataset.description)
        assert not checked.problems and checked.label is not None and checked.label.dtype == dtype
        np.testing.assert_array_equal(checked.label, label)

    @pytest.mark.parametrize(
        ("file", "value"),
        [
            ("imagesTr/a_0000.nrrd", np.nan),
            ("imagesTr/a_0000.nrrd", np.inf),
            ("imagesTr/a_0000.nrrd", -np.inf),
            ("imagesTr/a_0000.nrrd", 1e39),  # in float64; infinite in the float32 of prepared cases
            ("labelsTr/a.nrrd", np.nan),
        ],
    )
    def test_not_finite(self, make_dataset: MakeDataset, file: str, value: float) -> None:
        dataset = make_dataset()
        write_image(dataset.folder / file, np.where(RAMP < 3, value, RAMP % 3.0), GRID)
        assert problems(dataset) == [
            f"{file}: 3 of 120 voxels are NaN, infinite or over 3e38; replace them with a number"
        ]

    @pytest.mark.parametrize("unit", [1e-3, 1e3])
    def test_a_spacing_in_metres_or_micrometres(self, make_dataset: MakeDataset, unit: float) -> None:
        dataset, (z, y, x) = make_dataset(), (unit * mm for mm in GRID.spacing)
        image, label = dataset.folder / "imagesTr/a_0000.nrrd", dataset.folder / "labelsTr/a.nrrd"
        write_image(image, RAMP, Grid(GRID.shape, (z, y, x)))
        write_image(label, (RAMP % 2).astype(np.uint8), Grid(GRID.shape, (z, y, x)))
        (line,) = problems(dataset)
        assert line.startswith(f"imagesTr/a_0000.nrrd: its longest side is {12 * unit:.3g} mm, by a spacing")
        assert line.endswith("is that another unit? write it in mm into its header")

    def test_constant_image(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        write_image(dataset.folder / "imagesTr/a_0000.nrrd", np.full_like(RAMP, 7), GRID)
        assert problems(dataset) == [
            "imagesTr/a_0000.nrrd: constant image, every voxel is 7; export it again or remove the case"
        ]

    def test_two_dimensional(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        sitk.WriteImage(sitk.GetImageFromArray(RAMP[0]), str(dataset.folder / "imagesTr/a_0000.nrrd"))
        write_image(dataset.folder / "labelsTr/a.nrrd", RAMP[:1], Grid((1, 5, 6), GRID.spacing))
        remedy = "write one three-dimensional volume per file"
        assert problems(dataset) == [
            f"imagesTr/a_0000.nrrd: two-dimensional (size 6 x 5); {remedy}",
            f"labelsTr/a.nrrd: two-dimensional (size 6 x 5 x 1); {remedy}",
        ]

    def test_four_dimensional(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(ending=".mha")
        series = sitk.JoinSeries([sitk.GetImageFromArray(RAMP)] * 2)
        sitk.WriteImage(series, str(dataset.folder / "imagesTr/a_0000.mha"))
        assert problems(dataset) == [
            "imagesTr/a_0000.mha: 4-dimensional (size 6 x 5 x 4 x 2); "
            "write one three-dimensional volume per file"
        ]

    @pytest.mark.parametrize("ending", [".nrrd", ".mha"])
    def test_rgb(self, make_dataset: MakeDataset, ending: str) -> None:
        dataset = make_dataset(ending=ending)
        colours = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
        sitk.WriteImage(colours, str(dataset.folder / f"imagesTr/a_0000{ending}"))
        assert problems(dataset) == [
            f"imagesTr/a_0000{ending}: 3 values per voxel (RGB, complex, vector or layers of overlapping "
            "segments); write one value per voxel, one file per channel"
        ]

    def test_complex(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(ending=".mha")
        sitk.WriteImage(
            sitk.GetImageFromArray(RAMP.astype(np.complex64)), str(dataset.folder / "imagesTr/a_0000.mha")
        )
        assert problems(dataset) == [
            "imagesTr/a_0000.mha: 2 values per voxel (RGB, complex, vector or layers of overlapping "
            "segments); write one value per voxel, one file per channel"
        ]

    @pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".nii", ".mha"])
    def test_cut_short(self, make_dataset: MakeDataset, ending: str) -> None:
        dataset = make_dataset(ending=ending)
        file = dataset.folder / f"imagesTr/a_0000{ending}"
        file.write_bytes(file.read_bytes()[:-12])
        (line,) = problems(dataset)
        assert line.startswith(f"imagesTr/a_0000{ending}: cannot be read (")
        assert line.endswith("; export it again")

    def test_unreadable_and_empty(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        (dataset.folder / "imagesTr/a_0000.nrrd").write_text("not an image")
        (dataset.folder / "labelsTr/a.nrrd").write_bytes(b"")
        first, second = problems(dataset)
        assert first.startswith("imagesTr/a_0000.nrrd: cannot be read (")
        assert second == "labelsTr/a.nrrd: empty file (0 bytes); export it again"
        checked = check(dataset)
        assert checked.images is None and checked.label is None and checked.grid is None

    def test_every_fault_of_a_case_is_listed(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(channel_names={"0": "PD", "1": "T2"})
        write_image(dataset.folder / "imagesTr/a_0000.nrrd", np.zeros_like(RAMP), GRID)
        (dataset.folder / "imagesTr/a_0001.nrrd").unlink()
        write_image(dataset.folder / "labelsTr/a.nrrd", np.full((4, 5, 6), 9, np.uint8), GRID)
        assert [line.split(";")[0] for line in problems(dataset)] == [
            "imagesTr/a_0001.nrrd: no such file",
            "imagesTr/a_0000.nrrd: constant image, every voxel is 0",
            "labelsTr/a.nrrd: label values 9 are not declared in dataset.json, which has 0, 1, 2",
        ]
