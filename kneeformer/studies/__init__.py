"""Comparisons of trainings: the best configuration, the benefit of pre-training, the published tables."""
