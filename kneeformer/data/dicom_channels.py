"""Cases of DICOM series: one series each, or with several channels the series of a study."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from kneeformer.data.dicom_folder import DicomSeries, case_names
from kneeformer.data.segment_names import plain_name


def series_of_cases(
    series: Sequence[DicomSeries], channels: Sequence[str]
) -> tuple[dict[str, tuple[DicomSeries, ...]], dict[Path, str]]:
    """The series of each case, one per channel, and why others are not used, by one of their files.

    With one channel, each series is a case. With several, each study is a case: a channel is the only series
    whose SeriesDescription is the channel's name, ignoring capitals and separators. All must share a frame of
    reference, without which their positions are unrelated. The case is named after its first series.
    """
    if len(channels) < 2:
        return {name: (one,) for name, one in case_names(series).items()}, {}
    studies = defaultdict[str, list[DicomSeries]](list)
    for one in series:
        studies[one.study_uid].append(one)
    found, unused = [], dict[Path, str]()
    for study in studies.values():
        chosen, fault = _chosen(study, channels)
        if fault is None:
            found.append(chosen)
        for one in study if fault is not None else [s for s in study if s not in chosen]:
            unused[one.files[0]] = fault or f"described as {one.description!r}, which is no channel; not used"
    firsts = case_names([of[0] for of in found])
    return {name: next(of for of in found if of[0] is first) for name, first in firsts.items()}, unused


def _chosen(
    study: Sequence[DicomSeries], channels: Sequence[str]
) -> tuple[tuple[DicomSeries, ...], str | None]:
    """The series of each channel, or the reason why there are none."""
    chosen: list[DicomSeries] = []
    for channel in channels:
        of = [one for one in study if plain_name(one.description) == plain_name(channel)]
        if len(of) != 1:
            there = ", ".join(repr(one.description) for one in study)
            number = "no series" if not of else f"{len(of)} series"
            return (), (
                f"its study has {number} described as {channel!r}, a channel, but {there}; not used: have "
                f"one of each channel, or convert them to CASE_0000, CASE_0001, ..."
            )
        chosen += of
    if len({one.frame_of_reference for one in chosen}) > 1:
        return (), (
            "the series of its channels differ in FrameOfReferenceUID, so that their positions cannot be "
            "compared; not used: register them, and save them as CASE_0000, CASE_0001, ..."
        )
    return tuple(chosen), None
