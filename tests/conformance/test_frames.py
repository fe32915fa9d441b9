"""The port of frames: the stream arrives in pieces of any size, and leaves as whole frames."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum._wire import MAX_FRAME, FrameBuffer, Frames, FrameTooLarge

IMPLEMENTATIONS: list[Callable[[], Frames]] = [FrameBuffer]
BODIES = [b"one", b"", b"a longer one" * 100, b"\x00\x01\x02\x03", b"last"]


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


STREAM = b"".join(map(framed, BODIES))


@pytest.fixture(params=IMPLEMENTATIONS, ids=["buffer"], scope="module")
def make(request: pytest.FixtureRequest) -> Callable[[], Frames]:
    """Each implementation of `Frames`."""
    implementation: Callable[[], Frames] = request.param
    return implementation


@pytest.fixture
def frames(make: Callable[[], Frames]) -> Frames:
    """An empty buffer of each implementation."""
    return make()


def test_a_frame_is_complete_with_its_last_byte(frames: Frames) -> None:
    """Single bytes give the same frames, each as soon as its last byte is there."""
    ends = set(accumulate(map(len, map(framed, BODIES))))
    found: list[bytes] = []
    for position, byte in enumerate(STREAM, 1):
        frames.feed(bytes([byte]))
        complete = list(frames)
        assert len(complete) == (position in ends)
        found += complete
    assert found == BODIES
    assert len(frames) == 0


@given(bodies=st.lists(st.binary(max_size=200), max_size=8), cuts=st.lists(st.integers(0, 2000), max_size=6))
def test_a_stream_may_be_cut_anywhere(make: Callable[[], Frames], bodies: list[bytes], cuts: list[int]) -> None:
    """Wherever a stream is cut, each frame, an empty one too, comes out once, whole and in order."""
    stream = b"".join(map(framed, bodies))
    frames, found = make(), []
    for start, end in pairwise([0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]):
        frames.feed(stream[start:end])
        found += list(frames)
    assert found == bodies
    assert len(frames) == 0


def test_an_incomplete_frame_is_counted(frames: Frames) -> None:
    """The length is that of the bytes that belong to no complete frame."""
    frames.feed(framed(b"whole") + framed(b"half")[:5])
    assert list(frames) == [b"whole"]
    assert len(frames) == 5
    assert list(frames) == []


def test_frames_may_be_taken_one_at_a_time(frames: Frames) -> None:
    """A frame that is not taken yet stays."""
    frames.feed(STREAM)
    assert next(iter(frames)) == BODIES[0]
    assert list(frames) == BODIES[1:]


@pytest.mark.parametrize("length", [MAX_FRAME + 1, 2**32 - 1])
def test_a_frame_that_is_too_large_is_refused_by_its_announcement(frames: Frames, length: int) -> None:
    """The frames before it come out; its four bytes of length are enough for the error, which names both numbers."""
    frames.feed(framed(b"before") + length.to_bytes(4, "little"))
    coming = iter(frames)
    assert next(coming) == b"before"
    with pytest.raises(FrameTooLarge, match=f"{length} bytes .* at most {MAX_FRAME}"):
        next(coming)


def test_the_largest_frame_is_taken(frames: Frames) -> None:
    """A frame of exactly the limit comes out whole."""
    frames.feed(framed(bytes(MAX_FRAME)))
    assert list(map(len, frames)) == [MAX_FRAME]
