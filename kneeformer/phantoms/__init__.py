"""Synthetic knees and bones."""
