"""Reconstruction of MRI from undersampled k-space, by unrolled networks or classical solvers."""
