"""Draw a run of ``adsum demo`` as an animated picture of a terminal, in SVG.

    pip install pyte
    python docs/pictures/record.py [FILE] [-- COMMAND ...]

The command runs in a pseudo-terminal. pyte, an emulator of a terminal, knows the screen at each moment; the screens
that differ become the frames. The picture needs no script: CSS shows one frame after the other, and the last one for
longer. Where a reader asks for less motion, it shows the last one alone.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

COLUMNS, ROWS = 84, 26
FRAME_SECONDS = 0.4
MOST_FRAMES = 40
LAST_SECONDS = 6.0
MOST_SECONDS = 60.0
CHARACTER, LINE, MARGIN = 8.4, 18, 14
COLOURS = {
    "default": "#d8dee9",
    "black": "#4c566a",
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#e3b341",
    "yellow": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#56d4dd",
    "white": "#ffffff",
}

# A run of characters of one look: column, text, colour, bold.
Run = tuple[int, str, str, bool]
Screen = tuple[tuple[Run, ...], ...]


def record(command: Sequence[str]) -> list[Screen]:
    """The screens of a run of the command, the last one included."""
    with tempfile.TemporaryDirectory(prefix="adsum-picture-") as folder:
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ |= {"TERM": "xterm-256color", "ADSUM_DIR": folder, "LANG": "C.UTF-8"}
            os.execvp(command[0], list(command))
        try:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.kill(pid, signal.SIGWINCH)
            return _watch(terminal)
        finally:
            os.close(terminal)
            os.waitpid(pid, 0)


def _watch(terminal: int) -> list[Screen]:
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    frames: list[Screen] = []
    until = time.monotonic() + MOST_SECONDS
    due = 0.0
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            stream.feed(data)
        if time.monotonic() >= due:
            due = time.monotonic() + FRAME_SECONDS
            _add(frames, screen)
    _add(frames, screen)
    return frames


def _add(frames: list[Screen], screen: pyte.Screen) -> None:
    now = tuple(_runs(screen, row) for row in range(ROWS))
    if any(now) and (not frames or frames[-1] != now):
        frames.append(now)


def _runs(screen: pyte.Screen, row: int) -> tuple[Run, ...]:
    line = screen.buffer[row]
    cells = [(column, line[column]) for column in range(COLUMNS)]
    runs: list[Run] = []
    for (colour, bold), group in groupby(cells, key=lambda cell: (cell[1].fg, cell[1].bold)):
        part = list(group)
        text = "".join(character.data for _, character in part)
        if text.strip():
            runs.append((part[0][0], text.rstrip(), colour, bold))
    return tuple(runs)


def picture(frames: Sequence[Screen]) -> str:
    """The frames as an animated SVG."""
    kept = frames if len(frames) <= MOST_FRAMES else [*frames[:: -(-len(frames) // MOST_FRAMES)], frames[-1]]
    seconds = FRAME_SECONDS * (len(kept) - 1) + LAST_SECONDS
    width, height = round(2 * MARGIN + CHARACTER * COLUMNS), 2 * MARGIN + LINE * ROWS
    style = [
        "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre}",
        ".b{font-weight:700}",
        f".f{{opacity:0;animation:a {seconds:.1f}s step-end infinite}}",
        ".f:last-of-type{animation-name:z}",
        f"@keyframes a{{0%{{opacity:1}}{100 * FRAME_SECONDS / seconds:.3f}%{{opacity:0}}}}",
        f"@keyframes z{{0%{{opacity:1}}{100 * LAST_SECONDS / seconds:.3f}%{{opacity:0}}}}",
        "@media (prefers-reduced-motion:reduce){.f{animation:none}.f:last-of-type{opacity:1}}",
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="adsum demo">',
        f"<style>{''.join(style)}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>',
    ]
    for number, frame in enumerate(kept):
        parts.append(f'<g class="f" style="animation-delay:{number * FRAME_SECONDS:.1f}s">')
        for row, runs in enumerate(frame):
            parts += [_text(row, run) for run in runs]
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _text(row: int, run: Run) -> str:
    column, text, colour, bold = run
    fill = COLOURS.get(colour, f"#{colour}" if len(colour) == 6 else COLOURS["default"])
    x, y = MARGIN + CHARACTER * column, MARGIN + LINE * row + 13
    look = ' class="b"' if bold else ""
    length = CHARACTER * len(text)
    return f'<text x="{x:.1f}" y="{y}" fill="{fill}" textLength="{length:.1f}"{look}>{escape(text)}</text>'


def main() -> None:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    file = Path(arguments[0]) if cut else Path(__file__).with_name("demo.svg")
    command = arguments[cut + 1 :] or [shutil.which("adsum") or "adsum", "demo"]
    file.write_text(picture(record(command)))


if __name__ == "__main__":
    main()
