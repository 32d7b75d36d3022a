"""The folder convention, what labels mean, and who trains with whom."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.dataset import Case, Dataset, with_other_sides
from kneeformer.data.description import DatasetDescription
from kneeformer.data.splits import fold_cases, load_or_make_splits, make_splits, read_splits
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme
from kneeformer.sides import Side, side_in_name

MakeDataset = Callable[..., Dataset]
PARTS = ("train", "val")
PLAIN = {"channel_names": {"0": "PD"}, "labels": {"background": 0, "femur": 1}, "file_ending": ".nrrd"}


def refusal(tmp_path: Path, description: object) -> str:
    """What Dataset.open says about a description, without the file before it."""
    file = tmp_path / "dataset.json"
    file.write_text(description if isinstance(description, str) else json.dumps(description))
    with pytest.raises(KneeformerError) as caught:
        Dataset.open(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")
    return str(caught.value).removeprefix(f"{file}: ")


class TestListing:
    def test_cases(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(cases=("knee_2", "knee_1"), channel_names={"0": "PD", "1": "T2"})
        folder = dataset.folder
        first, second = dataset.training_cases()
        assert (dataset.name, first.name, second.name) == ("Dataset001_Knee", "knee_1", "knee_2")
        assert first.images == (folder / "imagesTr/knee_1_0000.nrrd", folder / "imagesTr/knee_1_0001.nrrd")
        assert first.label == folder / "labelsTr/knee_1.nrrd"
        assert first.files == (*first.images, first.label)
        assert dataset.unlabelled_cases() == []

    def test_missing_channels_are_listed_all_the_same(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(channel_names={"0": "PD", "1": "T2"})
        (dataset.folder / "imagesTr/a_0000.nrrd").unlink()
        assert [len(c.images) for c in dataset.training_cases()] == [2, 2]

    def test_cases_without_labels(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset()
        (dataset.folder / "imagesUn").mkdir()
        (dataset.folder / "imagesUn/u_0000.nrrd").touch()
        (case,) = dataset.unlabelled_cases()
        assert (case.name, case.label, case.files) == ("u", None, case.images)

    def test_files_listed_in_dataset_json(self, make_dataset: MakeDataset) -> None:
        dataset = make_dataset(dataset={"k": {"images": ["scans/k.nrrd"], "label": "masks/k.nrrd"}})
        (case,) = dataset.training_cases()
        assert case.files == (dataset.folder / "scans/k.nrrd", dataset.folder / "masks/k.nrrd")


class TestDescription:
    def test_what_nnunet_writes_is_read(self, tmp_path: Path) -> None:
        extra = {"numTraining": 3, "overwrite_image_reader_writer": "SimpleITKIO", "licence": "CC"}
        (tmp_path / "dataset.json").write_text(json.dumps({**PLAIN, **extra}))
        assert Dataset.open(tmp_path).description.channels == ("PD",)

    def test_channels_are_in_the_order_of_their_numbers(self) -> None:
        channels = {str(i): f"c{i}" for i in reversed(range(11))}
        description = DatasetDescription(**{**PLAIN, "channel_names": channels})
        assert description.channels == tuple(f"c{i}" for i in range(11))

    @pytest.mark.parametrize(
        ("case", "subject"),
        [
            ("9031930_36m", "9031930"),
            ("knee_07_V01", "knee_07"),
            ("P1_T2", "P1"),
            ("P1_visit3", "P1"),
            ("P1_baseline", "P1_baseline"),
            ("P1_V1_00m", "P1"),
            ("P1.V1", "P1"),
            ("P1-ses-01", "P1"),
            ("sub-01_ses-01", "sub-01"),
            ("sub-01_ses-baseline", "sub-01"),
            ("sub-01_ses-M12_T1w", "sub-01"),
            ("sub-01_acq-sag_run-2_PD", "sub-01"),
            ("sub-01", "sub-01"),
            ("sub-01_L", "sub-01"),
            ("sub-knee_001", "sub-knee_001"),
            ("12L_36m", "12"),
            ("12 left", "12"),
            ("hippocampus_003", "hippocampus_003"),
            ("left_first", "person"),
            ("12_L", "12"),
            ("R_12", "12"),
            ("P1_left_00m", "P1"),
            ("P1_00m_left", "P1"),
            ("right-P1_V2", "P1"),
            ("knee-Left-07", "knee-07"),
            ("Lara_12", "Lara_12"),
            ("L", "L"),
            ("L_00m", "L"),
            ("L_R", "L_R"),
        ],
    )
    def test_subjects(self, case: str, subject: str) -> None:
        description = DatasetDescription(**PLAIN, subjects={"left_first": "person"})
        assert description.subject(case) == subject

    def test_another_time_point_of_a_listed_case_is_of_its_subject(self) -> None:
        listed = {"a_00m": "anna", "b": "bert", "c_V1": "carl", "c_V2": "carl"}
        description = DatasetDescription(**PLAIN, subjects=listed)
        found = {case: description.subject(case) for case in ("a_12m", "a", "b_T2", "c_V3", "d_00m")}
        assert found == {"a_12m": "anna", "a": "anna", "b_T2": "bert", "c_V3": "carl", "d_00m": "d"}

    def test_both_sides_of_a_listed_person_are_hers(self) -> None:
        description = DatasetDescription(**PLAIN, subjects={"a_L_00m": "anna", "R_b": "bert"})
        found = {case: description.subject(case) for case in ("a_R_00m", "a_12m_L", "a", "b_left", "c_L")}
        assert found == {"a_R_00m": "anna", "a_12m_L": "anna", "a": "anna", "b_left": "bert", "c_L": "c"}

    @pytest.mark.parametrize(
        ("case", "side"),
        [
            ("12_L", "left"),
            ("R_12", "right"),
            ("P1_left_00m", "left"),
            ("knee-RIGHT-2", "right"),
            ("L", "left"),
            ("L_left", "left"),
            ("L_R", None),
            ("12", None),
            ("Lara_12", None),
            ("listed_L", "right"),
        ],
    )
    def test_sides(self, case: str, side: Side | None) -> None:
        assert DatasetDescription(**PLAIN, sides={"listed_L": "right"}).side(case) == side
        if case != "listed_L":
            assert side_in_name(case) == side

    def test_what_travels_with_each_case_does_not_grow_with_the_dataset(self) -> None:
        subjects = [{str(i): "a" for i in range(count)} for count in (1, 1000)]
        whole = [DatasetDescription(**PLAIN, subjects=s) for s in subjects]
        assert [description.subject("0_V1") for description in whole] == ["a", "a"]
        each = [description.without_cases() for description in whole]
        assert each[0] == each[1] == DatasetDescription(**PLAIN)
        assert len(pickle.dumps(each[0])) == len(pickle.dumps(each[1]))

    def test_other_sides_are_the_same_persons(self) -> None:
        description = DatasetDescription(**PLAIN, subjects={"scan_7": "a"}, sides={"scan_7": "right"})
        names = ("a_L", "scan_7", "b_R", "c_L_00m", "c_R_12m", "c_R_00m", "d")
        cases = [Case(name, (), side=description.side(name)) for name in names]
        found = {c.name: c.other_side for c in with_other_sides(cases, cases, description)}
        assert {name: other and other.name for name, other in found.items()} == {
            "a_L": "scan_7",
            "scan_7": "a_L",
            "b_R": None,
            "c_L_00m": "c_R_00m",
            "c_R_12m": "c_L_00m",
            "c_R_00m": "c_L_00m",
            "d": None,
        }

    def test_a_side_that_is_none_is_refused(self, tmp_path: Path) -> None:
        assert "\n  sides.a: " in refusal(tmp_path, {**PLAIN, "sides": {"a": "middle"}})

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(
            KneeformerError, match=r"dataset\.json: no such file; write it, .*\n\{\"channel_names\""
        ):
            Dataset.open(tmp_path)

    def test_no_json(self, tmp_path: Path) -> None:
        assert refusal(tmp_path, "{").startswith("not valid JSON (Expecting property name")

    def test_keys_that_stand_twice(self, tmp_path: Path) -> None:
        twice = json.dumps(PLAIN).replace('"femur": 1', '"femur": 1, "tibia": 2, "femur": 3')
        assert refusal(tmp_path, twice) == "not valid JSON ('femur' occurs twice in one object); fix it"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_what_windows_editors_write_is_read(self, tmp_path: Path, encoding: str) -> None:
        (tmp_path / "dataset.json").write_text(
            json.dumps({**PLAIN, "channel_names": {"0": "d\u00e9j\u00e0"}}, ensure_ascii=False), encoding
        )
        assert Dataset.open(tmp_path).description.channels == ("d\u00e9j\u00e0",)

    def test_another_encoding(self, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_text('{"name": "d\u00e9j\u00e0"}', "latin-1")
        with pytest.raises(KneeformerError, match=r"dataset\.json: not UTF-8 text \(.*save it as UTF-8"):
            Dataset.open(tmp_path)

    def test_half_a_character(self, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_text(json.dumps({**PLAIN, "name": "\ud800"}))
        with pytest.raises(KneeformerError, match=r"contains half of a character pair, '.ud800'; fix it"):
            Dataset.open(tmp_path)

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").mkdir()
        with pytest.raises(KneeformerError, match=r"dataset\.json: a folder, where a file belongs"):
            Dataset.open(tmp_path)

    def test_every_wrong_field_is_named(self, tmp_path: Path) -> None:
        text = refusal(
            tmp_path, {"channel_names": {}, "labels": {"background": 0, "femur": "one"}, "task": 5}
        )
        assert text.startswith("not a dataset description:\n")
        for field in ("channel_names: ", "labels: femur: 'one' is neither", "task: "):
            assert f"\n  {field}" in text
        missing = refusal(tmp_path, {"file_ending": ".nrrd"})
        assert missing.count('missing; add it, as in {"channel_names": {"0": "PD"}, "labels"') == 2

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"file_ending": ".dcm"},
                "file_ending: '.dcm' is not one of .seg.nrrd, .nrrd, .nhdr, .nii.gz, .nii, .mha, .mhd, "
                ".h5, .hdf5",
            ),
            ({"labels": {"femur": 1}}, 'labels must contain "background": 0'),
            ({"labels": {"background": 0}}, "labels name no structure besides the background"),
            (
                {"labels": {"background": 0, "femur": 2, "ignore": 1}},
                'the "ignore" label must be the highest number, up to 2147483647',
            ),
            (
                {"labels": {"background": 0, "femur": 2, "ignore": [3]}},
                'the "ignore" label must be one number',
            ),
            (
                {"labels": {"background": 0, "bone": [1, 2], "femur": 1}},
                "labels with regions (lists of values) need regions_class_order, 2 numbers: the value to "
                "write for bone, femur, later ones over earlier ones",
            ),
            (
                {"labels": {"background": 0, "femur": 1, "tibia": 1}},
                "'femur' and 'tibia' are both 1; remove one, or give it a value of its own",
            ),
            (
                {"labels": {"background": 0, "a": [1, 2], "b": [2, 1]}, "regions_class_order": [1, 2]},
                "'a' and 'b' are both 1, 2; remove one, or give it a value of its own",
            ),
            (
                {"labels": {"background": 0, "femur": 0}},
                "'femur' has the value 0, which is the background's; give it another",
            ),
            (
                {"labels": {"background": 0, "femur": 2**31}},
                "'femur' has the value 2147483648; give it one of 1 to 2147483647, in the label maps as well",
            ),
            (
                {"labels": {"background": 0, "femur": -1}},
                "'femur' has the value -1; give it one of 1 to 2147483647, in the label maps as well",
            ),
            (
                {"labels": {"background": 0, "bone": [], "femur": 1}, "regions_class_order": [1, 1]},
                "the region 'bone' is empty; list the values that it is made of",
            ),
            (
                {"labels": {"background": 0, "femur": True}},
                "labels: femur: True is neither a whole number nor a list of such",
            ),
            (
                {"channel_names": {"1": "PD"}},
                'channel_names: numbered 1; number them 0, as in {"0": "PD", "1": "T2"}',
            ),
            ({"dataset": {"a": {"images": ["a.nrrd"]}}}, "dataset.a.label: missing; add it"),
            (
                {"dataset": {n: {"images": ["1", "2"], "label": "3"} for n in ("a", "b")}},
                "dataset.a: 2 images for 1 channel_names; list one per channel\n"
                "  dataset.b: 2 images for 1 channel_names; list one per channel",
            ),
        ],
    )
    def test_refused(self, tmp_path: Path, change: dict[str, object], message: str) -> None:
        assert refusal(tmp_path, {**PLAIN, **change}) == f"not a dataset description:\n  {message}"


class TestLabels:
    LABELS = np.array([0, 1, 2, 3])

    def test_plain(self) -> None:
        scheme = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})
        assert (scheme.names, scheme.painted, scheme.outputs) == (("femur", "tibia"), (1, 2), 3)
        assert not scheme.has_regions and scheme.ignore is None
        assert scheme.declared() == {0, 1, 2}
        assert scheme.structure(self.LABELS, "tibia").tolist() == [False, False, True, False]
        assert scheme.scored(self.LABELS).all()

    def test_ignore(self) -> None:
        scheme = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2, "ignore": 3})
        assert (scheme.outputs, scheme.ignore) == (3, 3)
        assert scheme.declared() == {0, 1, 2, 3}
        assert scheme.scored(self.LABELS).tolist() == [True, True, True, False]

    def test_regions(self) -> None:
        scheme = LabelScheme.from_json({"background": 0, "joint": [1, 2], "femur": 1, "ignore": 3}, [2, 1])
        assert (scheme.names, scheme.painted, scheme.outputs) == (("joint", "femur"), (2, 1), 2)
        assert scheme.has_regions
        assert scheme.declared() == {0, 1, 2, 3}
        assert scheme.structure(self.LABELS, "joint").tolist() == [False, True, True, False]
        assert scheme.structure(self.LABELS, "femur").tolist() == [False, True, False, False]

    def test_numbers_written_as_text_or_with_a_point(self) -> None:
        labels = {"background": "0", "bone": ["1", 2], "femur": "1", "tibia": 2.0}
        description = DatasetDescription(**{**PLAIN, "labels": labels, "regions_class_order": [1, 1, 2]})
        assert description.scheme.values == ((1, 2), (1,), (2,))


def visits(subjects: int, each: int = 2) -> dict[str, str]:
    return {f"s{s:02d}_T{t}": f"s{s:02d}" for s in range(subjects) for t in range(each)}


class TestSplits:
    @pytest.mark.parametrize(("subjects", "folds"), [(2, 2), (3, 3), (4, 4), (5, 5), (6, 5), (24, 5)])
    def test_properties(self, subjects: int, folds: int) -> None:
        subject_of = visits(subjects)
        splits = make_splits(subject_of)
        assert len(splits) == folds
        for split in splits:
            assert sorted(split["train"] + split["val"]) == sorted(subject_of)
            assert not {subject_of[c] for c in split["train"]} & {subject_of[c] for c in split["val"]}
        assert sorted(c for s in splits for c in s["val"]) == sorted(subject_of)  # each validates once
        sizes = [len(s["val"]) for s in splits]
        assert max(sizes) - min(sizes) <= 2  # one subject of two visits

    def test_leave_one_out_under_five(self) -> None:
        assert all(len(s["val"]) == 1 for s in make_splits(visits(4, each=1)))

    def test_the_seed_decides(self) -> None:
        first, again, other = (make_splits(visits(10), seed=seed) for seed in (1, 1, 2))
        assert first == again != other

    def test_one_subject(self) -> None:
        with pytest.raises(KneeformerError, match="1 labelled subject: cross-validation needs two"):
            make_splits(visits(1))

    def test_made_once_and_stored(self, tmp_path: Path) -> None:
        file = tmp_path / "splits_final.json"
        assert load_or_make_splits(file, visits(6)) == make_splits(visits(6)) == json.loads(file.read_text())

    def test_an_edited_file_is_honoured(self, tmp_path: Path) -> None:
        file = tmp_path / "splits_final.json"
        edited = [{"train": ["s00_T0"], "val": ["s02_T1"]}]
        file.write_text(json.dumps(edited))
        assert load_or_make_splits(file, visits(6)) == edited

    @pytest.mark.parametrize(
        ("split", "faults"),
        [
            ({"train": ["s00_T0"], "val": ["s00_T1"]}, ["subject s00 is in 'train' and in 'val'"]),
            ({"train": ["s00_T0"], "val": ["s00_T0"]}, ["subject s00 is in 'train' and in 'val'"]),
            (
                {"train": ["away", "s00_T0", "s00_T0"], "val": ["gone"]},
                [
                    "'train' names s00_T0 more than once",
                    "'train' names away, and there is no such case",
                    "'val' names gone, and there is no such case",
                ],
            ),
            ({"train": ["s00_T0"], "val": []}, ["'val' is empty"]),
            ({"train": [], "val": ["s00_T0"]}, ["'train' is empty"]),
            ({"val": ["s00_T0"]}, ["no 'train'"]),
            ({"train": ["s00_T0"]}, ["no 'val'"]),
            ({}, ["no 'train'", "no 'val'"]),
            ({"train": "s00_T0", "val": [1]}, [f"'{p}' is not a list of names of cases" for p in PARTS]),
            (
                {"train": {"s00_T0": 1}, "val": None},
                [f"'{p}' is not a list of names of cases" for p in PARTS],
            ),
            ([["s00_T0"], ["s01_T0"]], ['not {"train": [...], "val": [...]}']),
            (1, ['not {"train": [...], "val": [...]}']),
        ],
    )
    def test_every_fault_of_an_edit_is_told_by_fold(
        self, tmp_path: Path, split: object, faults: list[str]
    ) -> None:
        file, right = tmp_path / "splits_final.json", {"train": ["s01_T0"], "val": ["s02_T0"]}
        file.write_text(json.dumps([right, split, split]))
        with pytest.raises(KneeformerError) as caught:
            read_splits(file, visits(3))
        first, *lines = str(caught.value).splitlines()
        assert first == f"{file}: fix it, or move it away and make new splits with kf_plan"
        known = ["  the cases are s00_T0, s00_T1, s01_T0, s01_T1, s02_T0, s02_T1"]
        wanted = [f"  fold {k}: {fault}" for k in (1, 2) for fault in faults]
        assert lines == wanted + (known if "gone" in str(split) else [])

    @pytest.mark.parametrize("content", ["{}", "[]", "1", "null", '{"train": ["s00_T0"], "val": ["s01_T0"]}'])
    def test_a_file_of_another_shape_is_refused(self, tmp_path: Path, content: str) -> None:
        file = tmp_path / "splits_final.json"
        file.write_text(content)
        with pytest.raises(KneeformerError, match=r"splits_final\.json: (.|\n)* not a list of folds"):
            read_splits(file, visits(6))

    def test_names_that_look_the_same_are_the_same(self, tmp_path: Path) -> None:
        """macOS writes an accent as a sign of its own."""
        file = tmp_path / "splits_final.json"
        file.write_text(json.dumps([{"train": ["cafe\u0301"], "val": ["s00_T0"]}]))
        assert read_splits(file, {"caf\u00e9": "a", "s00_T0": "b"}) == [
            {"train": ["caf\u00e9"], "val": ["s00_T0"]}
        ]

    def test_more_cases_than_a_person_reads_are_counted(self, tmp_path: Path) -> None:
        file = tmp_path / "splits_final.json"
        file.write_text(json.dumps([{"train": ["gone"], "val": ["s00_T0"]}]))
        with pytest.raises(KneeformerError, match=r"the cases are s00_T0, .*, s09_T1 and 60 more$"):
            read_splits(file, visits(40))

    def test_folds(self) -> None:
        splits = make_splits(visits(6))
        assert fold_cases(splits, "fold_2") == splits[2]
        everything = fold_cases(splits, "fold_all")
        assert everything == {"train": sorted(visits(6)), "val": splits[0]["val"]}
        with pytest.raises(KneeformerError, match="fold_5 does not exist: the dataset has folds 0 to 4, and"):
            fold_cases(splits, "fold_5")
