"""What repeats in a sequence: unrolled it is the sequence again, and loops are found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.targets.atb.cpp.repeats import Repeat, repeats


@pytest.mark.parametrize(
    ("sequence", "found"),
    [
        ("", []),
        ("e", [("e", 1)]),
        ("elllh", [("e", 1), ("l", 3), ("h", 1)]),
        ("eababah", [("e", 1), ("ab", 2), ("a", 1), ("h", 1)]),
        ("eaaabaaabh", [("e", 1), ("aaab", 2), ("h", 1)]),
        ("eabcdefghabcdefghz", [("e", 1), ("abcdefgh", 2), ("z", 1)]),
        # nine in a row are no pattern
        ("abcdefghiabcdefghi", [(item, 1) for item in "abcdefghiabcdefghi"]),
        ("aaaa", [("a", 4)]),  # and not (a a) twice
    ],
)
def test_patterns(sequence: str, found: list[tuple[str, int]]) -> None:
    assert [("".join(r.pattern), r.count) for r in repeats(sequence)] == found


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abc", max_size=24))
def test_unrolled_it_is_the_sequence(sequence: str) -> None:
    found: list[Repeat[str]] = repeats(sequence)
    assert "".join("".join(r.pattern) * r.count for r in found) == sequence
    start = 0
    for repeat in found:
        assert repeat.start == start
        assert len(repeat.pattern) == 1 or repeat.count > 1
        start += len(repeat.pattern) * repeat.count
