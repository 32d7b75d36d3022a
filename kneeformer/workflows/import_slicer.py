"""Import of a folder of 3D Slicer as a dataset: volumes, and segmentations with named structures."""

from collections.abc import Sequence
from pathlib import Path

from kneeformer.errors import KneeformerError
from kneeformer.progress import Progress
from kneeformer.workflows.import_cases import Imported, import_cases
from kneeformer.workflows.new_dataset import written_dataset
from kneeformer.workflows.slicer_folder import slicer_folder


def import_slicer(
    source: Path, folder: Path, channel: str, wanted: Sequence[str] | None, watch: Progress
) -> Imported:
    """Import the volumes and segmentations of a 3D Slicer folder as a dataset folder, by `import_cases`.

    Args:
        folder: to write, $kf_raw/DatasetNNN_Name; it must not exist.
        channel: name of the channel, such as "PD" or "CT".
        wanted: as in `import_cases`.

    Raises:
        KneeformerError: no volume has a segmentation; or as `import_cases`.
        DiskError: the disk is full or fails; nothing is left of the dataset.
    """
    found = slicer_folder(source)
    if not any(case.segmentation for case in found.cases):
        advice = (
            f"{source}: no volume has a segmentation; save volumes as NRRD or NIfTI, and beside each its "
            f"segmentation as VOLUME.seg.nrrd"
        )
        raise KneeformerError("\n  ".join([advice, *found.ignored]))
    with written_dataset(folder) as beside:
        return import_cases(source, found.cases, beside, [channel], wanted, found.ignored, watch)
