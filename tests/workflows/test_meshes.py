"""Surfaces of label maps as files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import SHAPE, plan
from stl import read_stl
from torch import Tensor, nn

from kneeformer.data.images import write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.workflows.inputs import Sources
from kneeformer.workflows.meshes import Export, MeshFiles, export_case, export_meshes, file_names
from kneeformer.workflows.predict import Extras, Predictor
from kneeformer.workflows.predict_folder import predict_folder
from kneeformer.workflows.predicted_by import PREDICTED_BY

GEOMETRY = Grid((8, 9, 10), (1.0, 1.0, 1.0), (5.0, 6.0, 7.0))


def labels() -> np.ndarray:
    array = np.zeros(GEOMETRY.shape, np.uint8)
    array[2:6, 2:7, 2:8] = 3
    array[3, 3, 3] = 7
    return array


SCHEME = LabelScheme.from_json({"background": 0, "distal femur": 3, "empty": 5, "screw": 7})


@pytest.mark.parametrize("ending", ["stl", "ply", "vtp"])
def test_a_file_a_structure_and_its_measurements(ending: str, tmp_path: Path) -> None:
    stale = tmp_path / f"K01_empty.{ending}"
    stale.write_bytes(b"of an earlier prediction")
    MeshFiles(ending).write(tmp_path, "K01", labels(), GEOMETRY, SCHEME)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["K01.json", f"K01_distal_femur.{ending}", f"K01_screw.{ending}"]
    facts = json.loads((tmp_path / "K01.json").read_text())
    assert facts["space"] == "LPS"
    assert facts["structures"]["distal femur"]["file"] == f"K01_distal_femur.{ending}"
    assert facts["structures"]["distal femur"]["volume_mm3"] == 119
    assert facts["structures"]["empty"] == {"file": None, "volume_mm3": 0, "touches_border": False}
    assert MeshFiles(ending).outputs(SCHEME) == (
        ".json",
        f"_distal_femur.{ending}",
        f"_empty.{ending}",
        f"_screw.{ending}",
    )


def test_without_a_dataset_values_are_names_and_bad_files_cost_themselves(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "K01.nrrd", labels(), GEOMETRY)
    write_image(tmp_path / "in" / "K02.nrrd", labels() * np.float32(0.3), GEOMETRY)
    write_image(tmp_path / "in" / "K03.nrrd", labels() * 0, GEOMETRY)
    fractions, empty = export_meshes(
        tmp_path / "in", tmp_path / "out", None, MeshFiles(faces=40), 1, lambda *_: None
    )
    assert "K02.nrrd" in fractions and "whole numbers" in fractions
    assert "K03.nrrd" in empty and "no structure" in empty
    assert len(read_stl(tmp_path / "out" / "K01_label_3.stl").faces) <= 40
    assert (tmp_path / "out" / "K01_label_7.stl").is_file()


def test_a_scan_is_no_label_map(tmp_path: Path) -> None:
    scan = np.arange(512, dtype=np.int16).reshape(8, 8, 8)
    write_image(tmp_path / "scan.nii.gz", scan, Grid(scan.shape, (1.0, 1.0, 1.0)))
    (line,) = export_meshes(tmp_path, tmp_path / "out", None, MeshFiles(), 1, lambda *_: None)
    assert "scan.nii.gz: 511 different values, as a scan has; give label maps" in line
    assert not [*(tmp_path / "out").glob("*.stl")]


def test_a_structure_that_is_gone_leaves_no_surface_of_before(tmp_path: Path) -> None:
    (tmp_path / "K01_label_9.stl").touch()  # not ours
    for found in (labels(), np.where(labels() == 7, 0, labels())):
        write_image(tmp_path / "in" / "K01.nrrd", found, GEOMETRY)
        assert export_meshes(tmp_path / "in", tmp_path, None, MeshFiles(), 1, lambda *_: None) == []
        assert (tmp_path / "K01_label_7.stl").exists() == (found == 7).any()
    assert (tmp_path / "K01_label_3.stl").is_file() and (tmp_path / "K01_label_9.stl").is_file()
    assert "label_7" not in (tmp_path / "K01.json").read_text()


def test_a_surface_that_needs_more_faces_than_wanted_is_named(tmp_path: Path) -> None:
    assert MeshFiles(faces=40).write(tmp_path, "K01", labels(), GEOMETRY, SCHEME) == []
    femur, screw = MeshFiles(faces=4).write(tmp_path, "K01", labels(), GEOMETRY, SCHEME)
    number = len(read_stl(tmp_path / "K01_distal_femur.stl").faces)
    assert f"K01_distal_femur.stl: {number} triangles; with 4" in femur and 4 < number < 40
    assert "K01_screw.stl: 8 triangles; with 4" in screw  # the octahedron around one voxel


def test_values_that_the_dataset_does_not_declare_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "K01.nrrd", labels() + 1, GEOMETRY)
    with pytest.raises(KneeformerError, match="label values 1, 4, 8 are not declared"):
        export_case(Export(tmp_path / "K01.nrrd", "K01", tmp_path / "out", SCHEME, MeshFiles()))
    assert not (tmp_path / "out").exists()


def test_facts_of_a_completion_are_not_written_over(tmp_path: Path) -> None:
    write_image(tmp_path / "K01.nrrd", labels(), GEOMETRY)
    facts = tmp_path / "K01.json"
    facts.write_text('{"length_mm": 419.0}')
    with pytest.raises(KneeformerError, match=r"K01.json: not of meshes, .*\nwrite .* into another folder"):
        export_meshes(tmp_path, tmp_path, SCHEME, MeshFiles(), 1, lambda *_: None)
    assert facts.read_text() == '{"length_mm": 419.0}'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["K01.json", "K01.nrrd"]
    facts.unlink()
    for _ in range(2):  # its own facts it writes again
        assert export_meshes(tmp_path, tmp_path, SCHEME, MeshFiles(), 1, lambda *_: None) == []
    assert (tmp_path / "K01_screw.stl").is_file()


def test_cases_that_would_share_a_file_are_refused(tmp_path: Path) -> None:
    scheme = LabelScheme.from_json({"background": 0, "left": 3, "femur left": 7})
    for name in ("K01", "K01_femur"):
        write_image(tmp_path / "in" / f"{name}.nrrd", labels(), GEOMETRY)
    with pytest.raises(KneeformerError, match=r"^k01_femur_left\.stl: a file of K01 and of K01_femur"):
        export_meshes(tmp_path / "in", tmp_path / "out", scheme, MeshFiles(), 1, lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_structures_that_would_share_a_file_are_refused() -> None:
    assert file_names(["distal femur", "tibia"]) == {"distal femur": "distal_femur", "tibia": "tibia"}
    with pytest.raises(KneeformerError, match="'a b' and 'A_b' would write one mesh file"):
        file_names(["a b", "A_b"])


class Bright(nn.Module):
    """Finds what is above zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, to_patient: Tensor) -> Tensor:
        return torch.cat([-image, image], 1)


def test_a_prediction_writes_its_surfaces(tmp_path: Path) -> None:
    voxels = (np.arange(np.prod(SHAPE)) % 16 - 20).reshape(SHAPE).astype(np.int16)
    voxels[1:3, 2:6, 3:6] = 20
    write_image(tmp_path / "in" / "K01_0000.nrrd", voxels, Grid(SHAPE, (1.0, 1.0, 1.0)))
    predictor = Predictor(plan(), plan().configuration("3d_vit"), (Bright(),))
    output, extras = tmp_path / "out", Extras(meshes=MeshFiles())
    assert predict_folder(predictor, Sources(tmp_path / "in"), output, lambda *_: None, extras) == []
    assert sorted(p.name for p in output.iterdir()) == [
        *("K01.json", "K01.nrrd", "K01.png", "K01_femur.stl", PREDICTED_BY, "preview.png"),
    ]
    assert read_stl(output / "K01_femur.stl").is_watertight
    facts = json.loads((output / "K01.json").read_text())["structures"]["femur"]
    assert facts["volume_mm3"] == 24 and facts["surface_volume_mm3"] == pytest.approx(24, rel=0.3)
