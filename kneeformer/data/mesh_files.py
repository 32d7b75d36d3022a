"""Surfaces in files: STL, PLY and VTP, in LPS mm."""

from pathlib import Path

import numpy as np

from kneeformer.data.files import write_bytes
from kneeformer.geometry.mesh import Mesh

_SPACE = "SPACE=LPS"  # 3D Slicer's text for the coordinate system, in STL and PLY
_HEADER = f"kneeformer {_SPACE}".encode().ljust(80, b" ")
_STL_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_PLY_FACE = np.dtype([("corners", "u1"), ("vertices", "<i4", 3)])


def write_stl(path: Path, mesh: Mesh) -> None:
    """Write binary STL, float32, LPS mm; the file appears whole or not at all.

    Its header says LPS in 3D Slicer's words.
    """
    lengths = np.maximum(np.linalg.norm(mesh.normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    rows = np.zeros(len(mesh.faces), _STL_FACE)
    rows["normal"], rows["corners"] = mesh.normals / lengths, mesh.triangles
    write_bytes(path, _HEADER + np.uint32(len(rows)).astype("<u4").tobytes() + rows.tobytes())


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write binary little-endian PLY, float32, LPS mm; the file appears whole or not at all."""
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment kneeformer {_SPACE}\n"
        f"element vertex {len(mesh.vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.zeros(len(mesh.faces), _PLY_FACE)
    rows["corners"], rows["vertices"] = 3, mesh.faces
    write_bytes(path, header.encode() + mesh.vertices.astype("<f4").tobytes() + rows.tobytes())


def write_vtp(path: Path, mesh: Mesh) -> None:
    """Write VTK's XML format, float32, LPS mm; the file appears whole or not at all."""
    arrays = (
        ("Float32", "points", mesh.vertices.astype("<f4")),
        ("Int64", "connectivity", mesh.faces.astype("<i8")),
        ("Int64", "offsets", np.arange(3, 3 * len(mesh.faces) + 1, 3, dtype="<i8")),
    )
    tags, content = [], b""
    for kind, name, array in arrays:
        components = ' NumberOfComponents="3"' if name == "points" else ""
        tags.append(
            f'<DataArray type="{kind}" Name="{name}"{components} format="appended" offset="{len(content)}"/>'
        )
        content += array.nbytes.to_bytes(8, "little") + array.tobytes()
    points, connectivity, offsets = tags
    space = " ".join(str(code) for code in b"LPS\0")
    header = (
        '<?xml version="1.0"?>\n'
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n<PolyData>\n'
        f'<FieldData><Array type="String" Name="SPACE" NumberOfTuples="1" format="ascii">{space}</Array>'
        f'</FieldData>\n<Piece NumberOfPoints="{len(mesh.vertices)}" NumberOfPolys="{len(mesh.faces)}">\n'
        f"<Points>{points}</Points>\n<Polys>{connectivity}\n{offsets}</Polys>\n</Piece>\n</PolyData>\n"
        '<AppendedData encoding="raw">\n_'
    )
    write_bytes(path, header.encode() + content + b"\n</AppendedData>\n</VTKFile>\n")


WRITERS = {"stl": write_stl, "ply": write_ply, "vtp": write_vtp}  # by a file's ending
