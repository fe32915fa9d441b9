"""The port of frames: bytes in whatever pieces, whole frames out."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from adsum._wire import MAX_FRAME, FrameBuffer, Frames, FrameTooLarge

IMPLEMENTATIONS: list[Callable[[], Frames]] = [FrameBuffer]
BODIES = [b"one", b"", b"a longer one" * 100, b"\x00\x01\x02\x03", b"last"]


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


STREAM = b"".join(map(framed, BODIES))


@pytest.fixture(params=IMPLEMENTATIONS, ids=["buffer"])
def frames(request: pytest.FixtureRequest) -> Frames:
    """Each implementation of `Frames`."""
    made: Frames = request.param()
    return made


def test_byte_by_byte(frames: Frames) -> None:
    """Single bytes give the same frames, each as soon as its last byte is there."""
    found: list[bytes] = []
    for position in range(len(STREAM)):
        frames.feed(STREAM[position : position + 1])
        found += frames
    assert found == BODIES
    assert len(frames) == 0


@pytest.mark.parametrize("seed", range(20))
def test_in_pieces_of_any_size(frames: Frames, seed: int) -> None:
    """A stream that is cut anywhere, and read at any moment, gives each frame once and in order."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    found: list[bytes] = []
    rest = STREAM
    while rest:
        size = chance.randrange(1, 40)
        frames.feed(rest[:size])
        rest = rest[size:]
        if chance.random() < 0.5:
            found += frames
    assert found + list(frames) == BODIES


def test_what_is_not_complete_is_counted(frames: Frames) -> None:
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


def test_a_frame_that_is_too_large_is_refused_by_its_announcement(frames: Frames) -> None:
    """The frames before it come out; no byte of its body is waited for."""
    frames.feed(framed(b"before") + (MAX_FRAME + 1).to_bytes(4, "little"))
    coming = iter(frames)
    assert next(coming) == b"before"
    with pytest.raises(FrameTooLarge):
        next(coming)


def test_the_largest_frame_is_taken(frames: Frames) -> None:
    """A frame of exactly the limit comes out whole."""
    frames.feed(framed(bytes(MAX_FRAME)))
    assert list(map(len, frames)) == [MAX_FRAME]
