"""How long work tells what it does."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is done, how many of how many
