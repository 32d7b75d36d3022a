"""Orientation, normalisation and resampling of a case; augmentation of crops."""
