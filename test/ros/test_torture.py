"""A short version of `make torture` (test/helpers/torture.py)."""

import pytest
import torture
from bags import raw, write_bag


@pytest.fixture
def table():
    made = torture.Table()
    yield made
    assert made.rows and made.good, [row for row in made.rows if row[2] is False]


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_fuzzed_messages(domain, table, tmp_path, colour_network_path, compressed):
    torture.fuzz(table, tmp_path, colour_network_path, torture.moving(), 200, compressed)


def test_injected_faults(domain, table, tmp_path, colour_network_path):
    names = ["camera stops", "black", "data cut short", "unknown encoding"]
    times = torture.inject(table, tmp_path, colour_network_path, torture.moving(), names)
    if not times:
        pytest.skip("this machine is too busy for the node to become READY")
    assert None not in times.values()


def test_hammered_from_outside(domain, table, tmp_path, colour_network_path):
    torture.hammer(table, tmp_path, colour_network_path, torture.moving(), 25)


def test_soaked(domain, table, tmp_path, colour_network_path):
    torture.soak(table, tmp_path, colour_network_path, torture.moving(), 150)
    assert (tmp_path / "soak.png").stat().st_size > 500


def test_a_replay_that_is_killed_and_resumed(table, tmp_path, colour_network_path):
    frames = torture.moving()
    bag = write_bag(tmp_path / "drive", 60, messages=[raw(i, frames[i % 12]) for i in range(60)], with_info=False)
    torture.kill_replay(table, tmp_path, colour_network_path, bag, 1)
