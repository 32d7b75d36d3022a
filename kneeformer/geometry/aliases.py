"""Shapes and spacings of volumes, named once. Axes are (z, y, x)."""

Size = tuple[int, int, int]  # voxels
Triple = tuple[float, float, float]  # millimetres
