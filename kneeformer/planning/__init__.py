"""Fingerprint of a dataset, budget of the machine, and the planning rules that tasks share."""
