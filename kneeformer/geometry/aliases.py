"""Names for the triples that describe volumes.

Axes of arrays and tensors are (z, y, x). Channels come before them, and the batch before those, as in
(b, c, z, y, x). Triples are in the same order, unless the docstring says (x, y, z), as ITK has it.
"""

Size = tuple[int, int, int]  # voxels, or tokens, along each axis
Spacing = tuple[float, float, float]  # mm from a voxel's centre to the next one's, along each axis
Vector = tuple[float, float, float]  # coordinates, extents or angles, in the unit that the name tells
