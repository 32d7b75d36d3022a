"""Seeds that no generator takes are refused by the command line."""

import argparse

import pytest

from kneeformer.cli.console import seed


def test_a_seed_is_what_every_generator_takes() -> None:
    assert [seed(text) for text in ("0", "7", "4294967295")] == [0, 7, 4294967295]
    for text in ("-1", "4294967296"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not a whole number from 0"):
            seed(text)
    with pytest.raises(ValueError, match="invalid literal"):
        seed("1.5")
