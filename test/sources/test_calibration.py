"""The clips' camera matrix against the chessboard photographs that its camera took."""

import cv2
import numpy as np
import pytest

from drive_seg.sources.clip import CLIPS, fetch
from drive_seg.sources.frame_source import SourceError

BOARD = (9, 6)


@pytest.fixture(scope="module")
def corners():
    """Corners of the photographs that show the whole board."""
    try:
        photographs = sorted(fetch().glob("calibration*.jpg"))
    except SourceError as error:
        pytest.skip(f"the clips can't be had: {error}")
    if not photographs:
        pytest.skip("the cached clips are older than this test and lack the chessboard photographs: delete the cache")
    found = []
    for path in photographs:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        whole, places = cv2.findChessboardCorners(grey, BOARD)
        if whole:
            found.append(cv2.cornerSubPix(grey, places, (7, 7), (-1, -1), (3, 60, 1e-4)).reshape(-1, 2))
    return found


def test_the_camera_matrix_projects_the_board_where_it_is(corners):
    assert len(corners) >= 15
    camera = next(clip.camera for clip in CLIPS.values() if clip.camera)
    K, D = np.array(camera.matrix).reshape(3, 3), np.array(camera.distortion)
    board = np.zeros((BOARD[0] * BOARD[1], 3))
    board[:, :2] = np.mgrid[:BOARD[0], :BOARD[1]].T.reshape(-1, 2)
    errors = []
    for seen in corners:
        _, turn, shift = cv2.solvePnP(board, seen.astype(np.float64), K, D)
        projected = cv2.projectPoints(board, turn, shift, K, D)[0].reshape(-1, 2)
        errors.append(np.sqrt(((projected - seen) ** 2).sum(axis=1).mean()))
    assert np.sqrt(np.mean(np.square(errors))) < 1.5  # the boards on these photographs are not quite flat
    wrong = K.copy()
    wrong[0, 0] *= 1.1
    _, turn, shift = cv2.solvePnP(board, corners[0].astype(np.float64), wrong, D)
    assert np.abs(cv2.projectPoints(board, turn, shift, wrong, D)[0].reshape(-1, 2) - corners[0]).max() > 1.5
