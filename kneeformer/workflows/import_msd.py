"""Import of a folder of the Medical Segmentation Decathlon as a dataset."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kneeformer.data.disk import in_words
from kneeformer.data.files import read_model
from kneeformer.data.formats.base import FileFault
from kneeformer.data.formats.nifti import read_channels
from kneeformer.data.image_folder import composed
from kneeformer.data.images import file_ending, read_image, write_image
from kneeformer.errors import KneeformerError
from kneeformer.progress import Progress
from kneeformer.workflows.new_dataset import write_description, written_dataset

_ENDING = ".nii.gz"


class _Case(BaseModel):
    image: str
    label: str


class _Description(BaseModel):
    """dataset.json of the Decathlon."""

    model_config = ConfigDict(extra="ignore")

    modality: dict[str, str] = Field(min_length=1)
    labels: dict[str, str] = Field(min_length=2)
    training: list[_Case] = Field(min_length=1)
    test: list[Any] = []


def import_msd(source: Path, folder: Path, watch: Progress) -> tuple[int, int]:
    """Write a dataset folder of the images and labels that a Decathlon's dataset.json lists.

    An image of four dimensions becomes one file per channel.

    Args:
        folder: to write, $kf_raw/DatasetNNN_Name; it must not exist.

    Returns:
        Number of training and of test cases.

    Raises:
        KneeformerError: dataset.json is not the Decathlon's, a file is missing or damaged, an image has
            another number of channels than dataset.json names, or two images have one name.
    """
    description = read_model(
        source / "dataset.json",
        _Description,
        "give a folder of the Medical Segmentation Decathlon, as Task04_Hippocampus",
    )
    tests = [name for name in description.test if isinstance(name, str)]
    total = len(description.training) + len(tests)
    with written_dataset(folder) as beside:
        for done, case in enumerate(description.training):
            watch("Importing", done, total)
            name = _write_channels(source / case.image, beside / "imagesTr", len(description.modality))
            label = read_image(source / case.label)
            write_image(beside / "labelsTr" / f"{name}{_ENDING}", label.array, label.grid)
        for done, image in enumerate(tests, len(description.training)):
            watch("Importing", done, total)
            _write_channels(source / image, beside / "imagesTs", len(description.modality))
        watch("Importing", total, total)
        labels = {name: int(value) for value, name in description.labels.items() if value.isdigit()}
        labels = {"background" if value == 0 else name: value for name, value in labels.items()}
        write_description(beside, description.modality, dict(labels), len(description.training), _ENDING)
    return len(description.training), len(tests)


def _write_channels(file: Path, folder: Path, channels: int) -> str:
    """Write an image as CASE_0000, CASE_0001, ...; returns CASE."""
    try:
        if file_ending(file) not in (".nii.gz", ".nii"):
            raise FileFault("the Decathlon's images are NIfTI; convert it")
        images = read_channels(file)
    except FileFault as fault:
        raise KneeformerError(f"{file}: {fault}") from fault
    except OSError as fault:
        raise KneeformerError(in_words(fault, file)) from fault
    if len(images) != channels:
        raise KneeformerError(f"{file}: {len(images)} channels, but dataset.json names {channels} modalities")
    name = composed(file.name[: -len(file_ending(file))])
    if (folder / f"{name}_0000{_ENDING}").exists():
        raise KneeformerError(f"{file}: dataset.json lists two images called {name}; rename one")
    for number, image in enumerate(images):
        write_image(folder / f"{name}_{number:04d}{_ENDING}", image.array, image.grid)
    return name
