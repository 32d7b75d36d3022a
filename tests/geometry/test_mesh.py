"""Surfaces of known bodies, and their files."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stl import read_stl

from kneeformer.data.disk import DiskError
from kneeformer.data.mesh_files import write_ply, write_stl, write_vtp
from kneeformer.errors import KneeformerError
from kneeformer.geometry.affine import rotation
from kneeformer.geometry.aliases import Size
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of

SPACING = (1.5, 0.7, 0.9)
ORIGIN = (-310.5, 222.25, 1200.75)
TURNED = rotation((25.0, -40.0, 10.0))
DIRECTIONS = {
    "straight": np.eye(3),
    "oblique": TURNED,
    "mirrored": np.diag([1.0, 1.0, -1.0]),
    "oblique and mirrored": TURNED @ np.diag([-1.0, 1.0, 1.0]),
}
TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float64),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)


def grid(direction: np.ndarray, shape: Size = (24, 50, 40)) -> Grid:
    return Grid(shape, SPACING, ORIGIN, tuple(direction.ravel().tolist()))


def centre_of(geometry: Grid) -> np.ndarray:
    return geometry.corners().mean(0)


def ball(geometry: Grid, radius_mm: float) -> np.ndarray:
    """Millimetres inside a ball around the middle of the grid, negative outside, (z, y, x)."""
    matrix, index = geometry.to_patient(), np.indices(geometry.shape).reshape(3, -1)
    points = (matrix[:3, :3] @ index).T + matrix[:3, 3]
    inside = radius_mm - np.linalg.norm(points - centre_of(geometry), axis=1)
    return inside.reshape(geometry.shape)


def test_a_tetrahedron_by_hand() -> None:
    assert TETRAHEDRON.signed_volume_mm3 == pytest.approx(1 / 6)
    np.testing.assert_allclose(TETRAHEDRON.areas_mm2, [0.5, 0.5, 0.5, np.sqrt(3) / 2])
    np.testing.assert_allclose(TETRAHEDRON.normals, [[0, 0, -1], [0, -1, 0], [-1, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(TETRAHEDRON.centre_of_volume, [0.25, 0.25, 0.25])
    assert TETRAHEDRON.is_watertight


@pytest.mark.parametrize(
    "faces",
    [
        [[0, 2, 1], [0, 1, 3], [0, 3, 2]],  # a hole
        [[0, 2, 1], [0, 1, 3], [0, 3, 2], [3, 2, 1]],  # one face inside out
        [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3], [0, 2, 1], [0, 1, 2]],  # edges of four faces
    ],
)
def test_what_is_not_watertight(faces: list[list[int]]) -> None:
    assert not Mesh(TETRAHEDRON.vertices, np.array(faces)).is_watertight


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_ball_has_its_volume_area_and_place(name: str) -> None:
    geometry = grid(DIRECTIONS[name])
    mesh = surface_of(ball(geometry, 12.0), 0.0, geometry)
    assert mesh.is_watertight and mesh.vertices.dtype == np.float64 and mesh.faces.dtype == np.int64
    assert mesh.signed_volume_mm3 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.01)
    assert mesh.areas_mm2.sum() == pytest.approx(4 * np.pi * 12**2, rel=0.01)
    outward = mesh.triangles.mean(1) - centre_of(geometry)
    assert (np.einsum("ij,ij->i", outward, mesh.normals) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - centre_of(geometry), axis=1), 12, atol=0.03)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_one_voxel_becomes_an_octahedron_around_it(name: str) -> None:
    """Half a voxel to every side; its volume is 4/3 of the product of the half axes."""
    geometry = grid(DIRECTIONS[name], (5, 6, 7))
    mask = np.zeros(geometry.shape, bool)
    mask[2, 3, 4] = True
    mesh = surface_of(mask, 0.5, geometry)
    steps = DIRECTIONS[name] @ np.diag(SPACING[::-1]) / 2  # columns: half a voxel along x, y, z
    centre = np.array(ORIGIN) + steps @ [8, 6, 4]
    expected = np.vstack([centre + steps.T, centre - steps.T])
    for vertex in expected:
        assert np.abs(mesh.vertices - vertex).sum(1).min() < 1e-3
    assert mesh.vertices.shape == (6, 3) and mesh.faces.shape == (8, 3)
    assert mesh.signed_volume_mm3 == pytest.approx(4 / 3 * np.prod(SPACING) / 8)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_closed_at_the_border_by_the_faces_of_the_last_voxels(name: str) -> None:
    geometry = grid(DIRECTIONS[name], (4, 5, 6))
    full = surface_of(np.ones(geometry.shape, bool), 0.5, geometry)
    cut = surface_of(ball(geometry, 3.0), 0.0, geometry)
    assert full.is_watertight and cut.is_watertight
    assert 0 < cut.signed_volume_mm3 < full.signed_volume_mm3
    assert full.signed_volume_mm3 == pytest.approx(np.prod(SPACING) * 4 * 5 * 6, rel=0.1)  # less the edges
    back = (full.vertices - ORIGIN) @ DIRECTIONS[name] / SPACING[::-1]
    np.testing.assert_allclose(back.min(0), -0.5, atol=1e-4)
    np.testing.assert_allclose(back.max(0), [5.5, 4.5, 3.5], atol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_watertight_whatever_the_mask(seed: int) -> None:
    """Noise holds every way in which voxels can meet."""
    geometry = grid(TURNED, (14, 15, 16))
    noise = np.random.default_rng(seed).random(geometry.shape)
    field = noise > 0.3 + 0.05 * seed if seed % 2 else noise
    assert surface_of(field, 0.5, geometry).is_watertight


def test_all_components_are_kept_and_cavities_count_as_negative() -> None:
    geometry = Grid((9, 9, 20), (1.0, 1.0, 1.0))
    solid = np.zeros(geometry.shape, bool)
    solid[2:7, 2:7, 2:7] = True
    hollow = solid.copy()
    hollow[4, 4, 4] = False
    two = solid.copy()
    two[4, 4, 14] = True
    volume = surface_of(solid, 0.5, geometry).signed_volume_mm3
    octahedron = 4 / 3 / 8
    assert surface_of(hollow, 0.5, geometry).signed_volume_mm3 == pytest.approx(volume - octahedron)
    assert surface_of(two, 0.5, geometry).signed_volume_mm3 == pytest.approx(volume + octahedron)


def test_voxels_on_the_level_itself_leave_no_two_vertices_at_one_place(tmp_path: Path) -> None:
    geometry = Grid((15, 15, 15), (0.5, 0.5, 0.5), (400.0, -400.0, 1500.0))
    z, y, x = np.ogrid[-7:8, -7:8, -7:8]
    mesh = surface_of(3.0 - (abs(z) + abs(y) + abs(x)), 0.0, geometry)
    write_stl(tmp_path / "mesh.stl", mesh)
    stored = read_stl(tmp_path / "mesh.stl")
    assert stored.is_watertight and stored.vertices.shape == mesh.vertices.shape
    assert mesh.signed_volume_mm3 == pytest.approx(4 / 3 * 1.5**3, rel=0.005)


def test_nothing_above_the_level_is_said() -> None:
    with pytest.raises(KneeformerError, match=r"no voxel is above 0\.5"):
        surface_of(np.zeros((4, 4, 4), bool), 0.5, Grid((4, 4, 4), (1.0, 1.0, 1.0)))


def test_mapped_by_an_affine_map() -> None:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 2 * TURNED @ np.diag([1, -1, 1]), [10, 20, 30]
    moved = TETRAHEDRON.transformed(matrix)
    assert moved.signed_volume_mm3 == pytest.approx(8 / 6) and moved.is_watertight
    np.testing.assert_allclose(moved.vertices[0], [10, 20, 30])
    back = moved.transformed(np.linalg.inv(matrix))
    np.testing.assert_allclose(back.vertices, TETRAHEDRON.vertices, atol=1e-12)
    np.testing.assert_array_equal(back.faces, TETRAHEDRON.faces)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_stl_keeps_places_and_winding(name: str, tmp_path: Path) -> None:
    geometry = grid(DIRECTIONS[name])
    mesh = surface_of(ball(geometry, 10.0), 0.0, geometry)
    write_stl(tmp_path / "folder" / "mesh.stl", mesh)
    stored = read_stl(tmp_path / "folder" / "mesh.stl")
    assert np.abs(stored.triangles - mesh.triangles).max() < 1e-3
    assert stored.is_watertight and stored.vertices.shape == mesh.vertices.shape
    assert stored.signed_volume_mm3 == pytest.approx(mesh.signed_volume_mm3, rel=1e-4)


def test_stl_byte_by_byte(tmp_path: Path) -> None:
    write_stl(tmp_path / "mesh.stl", TETRAHEDRON)
    content = (tmp_path / "mesh.stl").read_bytes()
    assert len(content) == 84 + 4 * 50 and not content.startswith(b"solid") and b"SPACE=LPS" in content[:80]
    assert int.from_bytes(content[80:84], "little") == 4
    first = np.frombuffer(content, "<f4", 12, 84).reshape(4, 3)
    np.testing.assert_array_equal(first, [[0, 0, -1], [0, 0, 0], [0, 1, 0], [1, 0, 0]])


def test_ply_byte_by_byte(tmp_path: Path) -> None:
    write_ply(tmp_path / "mesh.ply", TETRAHEDRON)
    header, body = (tmp_path / "mesh.ply").read_bytes().split(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert b"element vertex 4\n" in header and b"element face 4\n" in header
    assert len(body) == 4 * 12 + 4 * 13
    np.testing.assert_array_equal(np.frombuffer(body, "<f4", 12).reshape(4, 3), TETRAHEDRON.vertices)
    assert body[48] == 3
    np.testing.assert_array_equal(np.frombuffer(body, "<i4", 3, 49), TETRAHEDRON.faces[0])


def test_vtp_byte_by_byte(tmp_path: Path) -> None:
    write_vtp(tmp_path / "mesh.vtp", TETRAHEDRON)
    header, body = (tmp_path / "mesh.vtp").read_bytes().split(b'<AppendedData encoding="raw">\n_')
    assert b'Name="SPACE" NumberOfTuples="1" format="ascii">76 80 83 0<' in header  # LPS
    assert b'NumberOfPoints="4" NumberOfPolys="4"' in header
    assert b'Name="connectivity" format="appended" offset="56"' in header  # behind 8 and 48 bytes
    assert b'Name="offsets" format="appended" offset="160"' in header
    np.testing.assert_array_equal(np.frombuffer(body, "<f4", 12, 8).reshape(4, 3), TETRAHEDRON.vertices)
    np.testing.assert_array_equal(np.frombuffer(body, "<i8", 12, 64).reshape(4, 3), TETRAHEDRON.faces)
    np.testing.assert_array_equal(np.frombuffer(body, "<i8", 4, 168), [3, 6, 9, 12])
    assert int.from_bytes(body[:8], "little") == 48 and body.endswith(b"</AppendedData>\n</VTKFile>\n")


@pytest.mark.parametrize("write", [write_stl, write_ply, write_vtp])
def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(
    write: Callable[[Path, Mesh], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mesh"
    path.write_bytes(b"older")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DiskError, match="mesh: the disk is full"):
        patch.setattr("os.fsync", full)
        write(path, TETRAHEDRON)
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]
    write(path, TETRAHEDRON)
    assert path.read_bytes() != b"older" and list(tmp_path.iterdir()) == [path]
