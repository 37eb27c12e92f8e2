"""What `python -m drive_seg.training.trust` fits, and what it leaves alone."""

import shutil

import numpy as np
import pytest
import yaml
from colours import COLOURS, paint_scene, rgb

from drive_seg.core.classes import UNKNOWN
from drive_seg.core.segmenter import Segmenter
from drive_seg.network import Network
from drive_seg.runtimes import open_engine
from drive_seg.training import trust
from drive_seg.training.energy import normal_energy


@pytest.fixture
def streets(make_dataset):
    """Painted streets to train on, in the colour network's classes with a gap before them."""
    noise = np.random.default_rng(0)
    pairs = []
    for _ in range(4):
        image = paint_scene(96, 160)
        labels = np.zeros(image.shape[:2], np.uint8)
        for id_, name in enumerate(COLOURS, 1):
            labels[(image[..., ::-1] == rgb(name)).all(2)] = id_
        pairs.append((np.clip(image + noise.normal(0, 4, image.shape), 0, 255).astype(np.uint8), labels))
    classes = {i: {"name": name, "group": group} for i, (name, (group, _, _)) in enumerate(COLOURS.items(), 1)}
    return make_dataset(classes, 0, pairs, split="train")


@pytest.fixture
def own(colour_network_path, tmp_path):
    """One's own network, whose YAML says nothing of unknown."""
    for file in (colour_network_path, colour_network_path.with_suffix(".yaml")):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / colour_network_path.name


def fit(streets, own, *more):
    code = trust.main(["--data", str(streets), "--network", str(own), "--engine", "openvino", "--no-measure", *more])
    assert code == 0
    return yaml.safe_load(own.with_suffix(".yaml").read_text())


def test_ones_own_network_gets_unknown(streets, own):
    assert Network.load(own).trust is None
    unknown = fit(streets, own, "--write")["unknown"]
    assert len(unknown["mean"]) == len(unknown["std"]) == len(COLOURS) and unknown["limit"] < 0
    assert set(unknown["typical"]) == {"confidence", "unknown"}
    network = Network.load(own)
    engine = open_engine("openvino", network)
    labels = Segmenter(engine, network.table).segment(paint_scene(96, 160)).labels
    engine.close()
    assert (labels == UNKNOWN).mean() < 0.1, "what it was fitted on is known"


def test_what_export_fitted_is_left_as_it_is(streets, own):
    sidecar = own.with_suffix(".yaml")
    facts = yaml.safe_load(sidecar.read_text())
    exported = {"mean": [1.0] * len(COLOURS), "std": [2.0] * len(COLOURS), "limit": -3.5}
    sidecar.write_text(yaml.safe_dump(facts | {"unknown": exported}))
    unknown = fit(streets, own, "--write")["unknown"]
    assert unknown.pop("typical") and unknown == exported


def test_nothing_is_written_unasked(streets, own, capsys):
    before = own.with_suffix(".yaml").read_text()
    fit(streets, own)
    assert own.with_suffix(".yaml").read_text() == before
    with pytest.raises(SystemExit):
        trust.main(["--data", str(streets), "--write"])  # the network that ships
    assert "--network" in capsys.readouterr().err


def test_normal_energy_needs_road():
    with pytest.raises(ValueError, match="show no road"):
        normal_energy(np.zeros((3, 2)), np.ones(3, np.bool_), np.zeros(3, np.bool_), 1.0)


def test_normal_energy():
    cells = np.float32([[4, -90], [6, -90], [-90, 9], [-90, 1]])
    right, road = np.array([True, True, True, False]), np.array([True, True, False, False])
    mean, std, limit = normal_energy(cells, right, road, 2.0, share=0.5)
    np.testing.assert_allclose(mean, [5, 0], atol=1e-3)  # one cell says nothing of class 1
    np.testing.assert_allclose(std, [1, 1], atol=1e-3)
    assert limit == pytest.approx(0, abs=1e-3)
