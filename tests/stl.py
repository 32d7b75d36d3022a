"""Binary STL as any program reads it: triangles without connections."""

from pathlib import Path

import numpy as np

from kneeformer.geometry.mesh import Mesh

_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(path: Path) -> Mesh:
    """The surface in a file, (x, y, z) in mm as they are; corners at equal places become one vertex."""
    content = path.read_bytes()
    assert len(content) == 84 + int.from_bytes(content[80:84], "little") * _FACE.itemsize
    corners = np.frombuffer(content, _FACE, offset=84)["corners"].reshape(-1, 3).astype(np.float64)
    vertices, faces = np.unique(corners + 0.0, axis=0, return_inverse=True)  # -0.0 becomes 0.0
    return Mesh(vertices, faces.reshape(-1, 3).astype(np.int64))
