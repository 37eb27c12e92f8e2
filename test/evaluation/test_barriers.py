"""How much of a motorway's barrier is drivable, with the network that ships, on real frames."""

from drive_seg.core.drivable import DrivableRule
from drive_seg.core.segmenter import Segmenter
from drive_seg.evaluation import barriers
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine


def test_most_of_the_barrier_is_not_drivable(clips):
    network = Network.load(default_network())
    with open_engine("openvino", network, precision="fp32") as engine:
        segmenter = Segmenter(engine, network.table, DrivableRule(min_confidence=0.7), surface=network.surface)
        rows = list(barriers.measure(segmenter, every=5))
    assert len(rows) == 9 and {row.clip for row in rows} == {"motorway", "bridge"}
    assert all(row.drivable <= row.road for row in rows)
    assert max(row.drivable for row in rows) < 0.4  # the card tells the figures; the network before this one fails


def test_a_network_that_is_not_there_is_one_line(capsys, tmp_path):
    assert barriers.main(["--network", str(tmp_path / "none.onnx")]) == 2
    out, error = capsys.readouterr()
    assert not out and error.count("\n") == 1 and "none.onnx" in error


def test_an_outline_lies_in_the_picture():
    for stretch in barriers.STRETCHES:
        assert all(0 <= x < 1280 and 0 <= y < 720 for x, y in stretch.outline)
