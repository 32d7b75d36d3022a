"""Callbacks by which long work reports its progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is done, how many of how many
