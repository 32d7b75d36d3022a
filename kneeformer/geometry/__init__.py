"""Grids in the patient, orientations, boxes, surfaces: pure functions."""
