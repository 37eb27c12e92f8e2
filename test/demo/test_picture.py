"""The README's animated picture: it shows the video's seconds, small."""

import struct

import pytest

from drive_seg.demo.picture import animate, main
from drive_seg.sources.write import VideoWriter


@pytest.fixture
def video(tmp_path):
    """Four seconds at 10 Hz, of which the frames of one second are missing; each frame has a grey of its own."""
    import numpy as np

    with VideoWriter(tmp_path / "drive.mp4", 10.0) as writer:
        for i in [*range(10), *range(20, 40)]:
            writer.write(np.full((90, 160, 3), 6 * i, np.uint8), i * 100_000_000)
    return tmp_path / "drive.mp4"


def shown(file) -> tuple[tuple[int, int], list[int]]:
    """Width and height of an animated WebP, and how long each of its pictures stays, in ms (WebP container format)."""
    data, at, size, durations = file.read_bytes(), 12, None, []
    assert data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    while at < len(data):
        kind, length = data[at:at + 4], struct.unpack("<I", data[at + 4:at + 8])[0]
        body = data[at + 8:at + 8 + length]
        if kind == b"VP8X":
            size = tuple(1 + int.from_bytes(body[i:i + 3], "little") for i in (4, 7))
        elif kind == b"ANMF":
            durations.append(int.from_bytes(body[12:15], "little"))
        at += 8 + length + length % 2
    return size, durations


def test_it_shows_the_video_in_its_own_time(video, tmp_path):
    assert animate(video, tmp_path / "p.webp", start=0.5, seconds=2.5, width=160, rate=4) == 10
    size, durations = shown(tmp_path / "p.webp")
    assert size == (160, 90)
    assert sum(durations) == pytest.approx(2500, abs=5)
    assert max(durations) >= 1000, "the last frame before the gap stays"


def test_a_start_behind_the_end_is_one_clear_error(video, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["picture", str(video), str(tmp_path / "p.webp"), "--start", "60"])
    assert main() == 2
    assert "take an earlier --start" in capsys.readouterr().err
