"""Words of messages."""

from kneeformer.errors import first_few


def test_a_long_list_says_how_many_more_there_are() -> None:
    assert first_few([], 2) == ""
    assert first_few([1, 2], 2) == "1, 2"
    assert first_few(["a", "b", "c", "d"], 2) == "a, b and 2 more"
