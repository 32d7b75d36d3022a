"""Cartesian MRI k-space: Fourier transforms, sampling masks, coil sensitivities."""
