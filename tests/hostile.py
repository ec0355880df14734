"""Hostile content for every format that is read: odd values, and documents and bytes that are damaged in many ways.

Few examples are tried by default; ``COUPLING_FUZZ=1000`` tries that many of each.
"""

import json
import os
from contextlib import suppress

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from coupling.errors import CouplingError

EXAMPLES = int(os.environ.get("COUPLING_FUZZ", "0"))


def tries(usual: int) -> settings:
    """Settings of a test; the same examples every time unless more are asked for."""
    return settings(
        max_examples=EXAMPLES or usual,
        deadline=None,
        derandomize=not EXAMPLES,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


class OneLine(suppress):
    """A context in which only a ``CouplingError`` of one short, clean line may be raised."""

    def __init__(self):
        super().__init__(CouplingError)

    def __exit__(self, kind, error, trace):
        if isinstance(error, CouplingError):
            message = str(error)
            assert message, "an error without a message"
            assert len(message) < 4000
            assert "weights_only" not in message
            assert "\n" not in message
        return super().__exit__(kind, error, trace)


ODD_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "\x1b[31m",
        "\u202e",
        "\u2028",
        "[red]",
        "a" * 5000,
        "~nobody/x",
        "../x",
        "/dev/zero",
        "\ud800",
        "-1",
        "nan",
        "1" * 5000,
    ]
)
ODD_NUMBERS = st.sampled_from([0, -1, 1, 3, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan")])
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), ODD_NUMBERS, ODD_TEXTS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
BYTES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"\xff\xfea\0",
            b"[" * 100_000,
            b'{"a":' * 5000,
            b"1" * 10_000,
            b"\0" * 50,
            b"\xef\xbb\xbf",
            b'"\\ud800"',
            b"{" * 70,
        ]
    ),
)


@st.composite
def damaged_json(draw, content):
    """The bytes of a JSON document of which something is replaced, added or taken away."""
    if draw(st.integers(0, 9)) == 0:
        return draw(BYTES)
    document = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while isinstance(place, (dict, list)) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(min(len(place), 4))))
            if not isinstance(place[key], (dict, list)) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        if not isinstance(place, (dict, list)) or not place:
            continue
        what = draw(st.integers(0, 5))
        if what == 0:
            del place[key]
        elif what == 1 and isinstance(place, dict):
            place[draw(ODD_TEXTS)] = draw(ODD)
        else:
            place[key] = draw(ODD)
    text = json.dumps(document)
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text.encode()


@st.composite
def damaged_bytes(draw, content: bytes, within: int | None = None):
    """Bytes of which some are replaced, or the end is missing."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, min(len(changed), within or len(changed)) - 1))
        new = draw(
            st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f", b"\x01\0\0\0\0\0\0\x40"])
            | st.binary(min_size=1, max_size=4)
        )
        changed[place : place + len(new)] = new
    if draw(st.integers(0, 4)) == 0:
        del changed[draw(st.integers(0, len(changed))) :]
    return bytes(changed)
