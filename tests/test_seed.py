"""Numbers that an option does not take are refused by the command line."""

import argparse

import pytest

from kneeformer.cli.options import seed, whole_number


def test_a_seed_is_what_every_generator_takes() -> None:
    assert [seed(text) for text in ("0", "7", "4294967295")] == [0, 7, 4294967295]
    for text in ("-1", "4294967296"):
        with pytest.raises(
            argparse.ArgumentTypeError, match=f"{text} is not a whole number from 0 to 4294967"
        ):
            seed(text)
    with pytest.raises(ValueError, match="invalid literal"):
        seed("1.5")


def test_a_count_has_no_upper_end() -> None:
    assert whole_number(1)("10000000000") == 10**10
    with pytest.raises(argparse.ArgumentTypeError, match=r"^0 is not a whole number from 1$"):
        whole_number(1)("0")
