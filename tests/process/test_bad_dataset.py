"""A dataset with many faults: all of them in one list, and no plan."""

from pathlib import Path

import numpy as np
from workplace import Workplace

from kneeformer.data.images import read_image, write_image


def test_every_fault_is_listed_at_once(raw: Workplace, tmp_path: Path) -> None:
    place = raw.copy(tmp_path / "place")
    images, labels = place.raw / "imagesTr", place.raw / "labelsTr"
    image = read_image(images / "phantom_01_0000.nrrd")
    write_image(images / "phantom_01_0000.nrrd", np.full_like(image.array, 7), image.grid)
    content = (images / "phantom_02_0000.nrrd").read_bytes()
    (images / "phantom_02_0000.nrrd").write_bytes(content[: len(content) // 2])
    label = read_image(labels / "phantom_03.nrrd")
    write_image(labels / "phantom_03.nrrd", label.array + np.uint8(40), label.grid)
    (labels / "phantom_04.nrrd").unlink()
    label = read_image(labels / "phantom_05.nrrd")
    write_image(labels / "phantom_05.nrrd", label.array[:, :, 1:], label.grid)
    write_image(images / "phantom_06_0001.nrrd", image.array, image.grid)
    (place.raw / "imagesUn" / "scan.nii").write_bytes(b"nothing")

    said = place.run("kf_plan", "-d", 1, code=1)
    faults = said[said.index("problems to fix") :].splitlines()[1:]
    for file, word in (
        ("phantom_01_0000.nrrd", "constant image"),
        ("phantom_02_0000.nrrd", "cannot be read"),
        ("labelsTr/phantom_03.nrrd", "not declared"),
        ("phantom_04_0000.nrrd", "no label"),
        ("labelsTr/phantom_05.nrrd", "grid differs"),
        ("phantom_06_0001.nrrd", "extra channel"),
        ("imagesUn/scan.nii", "not called CASE_0000.nii"),
    ):
        (line,) = [f for f in faults if file in f.split(": ")[0]]
        assert word in line
    assert f"{len(faults)} problems" in said
    assert not place.preprocessed.exists()
