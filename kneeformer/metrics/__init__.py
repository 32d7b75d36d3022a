"""Metrics of arrays, spacings and surfaces; summaries with confidence intervals."""
