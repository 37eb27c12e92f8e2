"""`drive-seg ego-mask` on a painted drive: a road that changes behind a bonnet that does not."""

import cv2
import numpy as np
import pytest

from drive_seg.cli.main import main


@pytest.fixture
def drive(tmp_path):
    """A folder of pictures at 10 Hz."""
    folder, rng = tmp_path / "drive", np.random.default_rng(0)
    folder.mkdir()
    for number in range(60):
        few = rng.integers(0, 255, (9, 16, 3), np.uint8)
        image = cv2.resize(few, (320, 180), interpolation=cv2.INTER_CUBIC)
        image[150:] = (70, 60, 50)
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)
    return folder


def test_it_writes_mask_and_picture(drive, tmp_path, capsys):
    out = tmp_path / "ego.png"
    assert main(["ego-mask", str(drive), "-o", str(out)]) == 0
    mask = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    assert mask[152:].all() and not mask[:142].any()
    assert (tmp_path / "ego_check.jpg").is_file()
    said = capsys.readouterr().out
    assert "bonnet or bumper" in said and "ego_check.jpg" in said


def test_a_drive_that_stands_still_says_so(drive, tmp_path, capsys):
    for path in sorted(drive.iterdir())[1:]:
        path.write_bytes((drive / "000.png").read_bytes())
    assert main(["ego-mask", str(drive), "-o", str(tmp_path / "ego.png")]) == 2
    assert "does not move enough to tell" in capsys.readouterr().err
    assert not (tmp_path / "ego.png").exists()


def test_a_mask_is_stored_without_loss(drive, tmp_path, capsys):
    assert main(["ego-mask", str(drive), "-o", str(tmp_path / "ego.jpg")]) == 2
    assert "end its name in .png" in capsys.readouterr().err
