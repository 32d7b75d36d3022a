"""Import of a folder of the Medical Segmentation Decathlon as a dataset."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kneeformer.data.disk import in_words
from kneeformer.data.files import read_model
from kneeformer.data.formats.base import FileFault
from kneeformer.data.formats.nifti import read_channels
from kneeformer.data.image_folder import composed
from kneeformer.data.images import file_ending, read_image, write_image
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelValues
from kneeformer.progress import Progress
from kneeformer.workflows.new_dataset import write_description, written_dataset

_ENDING = ".nii.gz"


class _Case(BaseModel):
    image: str
    label: str


def _names_by_value(labels: Any) -> Any:
    """Labels of either way of writing, {"1": "femur"} or {"femur": 1}, as the first."""
    if not isinstance(labels, dict) or any(str(key).isdigit() for key in labels):
        return labels
    plain = all(isinstance(value, str | int) for value in labels.values())
    return {value: name for name, value in labels.items()} if plain else labels


def _image(test: Any) -> Any:
    """The file of a test case, which is its name or an object as those of training are."""
    return test.get("image") if isinstance(test, dict) else test


class _Description(BaseModel):
    """dataset.json of the Decathlon, and of datasets that are written alike."""

    model_config = ConfigDict(extra="ignore")

    modality: dict[str, str] = Field(min_length=1)
    labels: Annotated[dict[int, str], BeforeValidator(_names_by_value), Field(min_length=2)]
    training: list[_Case] = Field(min_length=1)
    test: list[Annotated[str, BeforeValidator(_image)]] = []


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
    tests = description.test
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
        labels = _labels(description.labels)
        write_description(beside, description.modality, labels, len(description.training), _ENDING)
    return len(description.training), len(tests)


def _labels(names: dict[int, str]) -> LabelValues:
    """Labels by name: 0 is background, and values of one name are one structure."""
    values = defaultdict[str, list[int]](list)
    for value, name in sorted(names.items()):
        values["background" if value == 0 else name].append(value)
    return {name: of if len(of) > 1 else of[0] for name, of in values.items()}


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
