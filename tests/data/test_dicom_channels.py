"""Series of a study as the channels of a case."""

from pathlib import Path

from kneeformer.data.dicom_channels import series_of_cases
from kneeformer.data.dicom_folder import DicomSeries


def series(uid: str, description: str, study: str = "1", frame: str = "9", number: int = 1) -> DicomSeries:
    return DicomSeries((Path(uid),), uid, study, "K01", number, "MR", "", description, frame, None)


PD, T2 = series("a", "PD_fs", number=3), series("b", "T2  Map", number=7)


def test_with_one_channel_each_series_is_a_case() -> None:
    assert series_of_cases([PD, T2], ["MRI"]) == ({"K01_s3": (PD,), "K01_s7": (T2,)}, {})


def test_channels_are_found_by_their_description_in_the_order_of_the_model() -> None:
    scout = series("c", "scout")
    found, unused = series_of_cases([scout, PD, T2], ["t2-map", "PD fs"])
    assert found == {"K01_s7": (T2, PD)}
    assert unused == {Path("c"): "described as 'scout', which is no channel; not used"}


def test_studies_stay_apart_and_their_cases_have_names_of_their_own() -> None:
    again = [series("d", "PD fs", study="2", number=7), series("e", "T2 map", study="2", number=7)]
    found, unused = series_of_cases([PD, T2, *again], ["T2 map", "PD fs"])
    assert found == {"K01_s7": (T2, PD), "K01_s7-2": (again[1], again[0])} and not unused


def test_a_channel_that_is_missing_doubled_or_in_another_frame_is_told() -> None:
    for study, said in (
        ([PD, series("b", "T1")], "no series described as 'T2 map', a channel, but 'PD_fs', 'T1'"),
        ([PD, T2, series("c", "T2 MAP")], "2 series described as 'T2 map'"),
        ([PD, series("b", "T2 map", frame="8")], "differ in FrameOfReferenceUID"),
    ):
        found, unused = series_of_cases(study, ["PD fs", "T2 map"])
        assert not found and unused.keys() == {one.files[0] for one in study}
        assert all(said in reason for reason in unused.values())
