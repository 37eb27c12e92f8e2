"""A real network whose right answer is known, and a painted street to show it."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
import yaml

COLOURS = {  # RGB prototype of each class: the network calls a pixel by the nearest
    "sky": ("background", (120, 180, 240), False),
    "road": ("road", (90, 90, 90), True),
    "pavement": ("pavement", (230, 150, 220), False),
    "car": ("obstacle", (200, 30, 20), False),
    "tree": ("background", (20, 120, 30), False),
}


def rgb(name: str) -> tuple[int, int, int]:
    """The colour that the colour network calls by this class's name."""
    return COLOURS[name][1]


def write_colour_network(folder: Path, size: tuple[int, int] = (96, 160), stride: int = 4, **extra) -> Path:
    """Write a real ONNX network that classifies pixels by colour, averaged over stride x stride pixels.

    Its logits are linear in the colour (nearest prototype), so the right answer of a painted scene is known.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    prototypes = np.array([colour for _, colour, _ in COLOURS.values()], np.float32)
    weights = (2 * prototypes / 500).reshape(len(COLOURS), 3, 1, 1)
    bias = -(prototypes**2).sum(1) / 500
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights", "bias"], ["fine"], kernel_shape=[1, 1]),
            helper.make_node("AveragePool", ["fine"], ["logits"], kernel_shape=[stride] * 2, strides=[stride] * 2),
        ],
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT,
                                       [1, len(COLOURS), size[0] // stride, size[1] // stride])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias.astype(np.float32), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path = folder / "colours.onnx"
    onnx.save(model, str(path))
    classes = [{"id": i, "name": name, "group": group, "colour": list(colour), "drivable": drivable}
               for i, (name, (group, colour, drivable)) in enumerate(COLOURS.items())]
    facts = {"format": 1, "name": "colours", "onnx_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
             "input": {"height": size[0], "width": size[1]}, "temperature": 1.0, "classes": classes, **extra}
    write_facts(path, facts)
    return path


def read_facts(network: Path) -> dict:
    """What the YAML file beside a network says."""
    return yaml.load(network.with_suffix(".yaml").read_text(), Loader=yaml.CSafeLoader)


def write_facts(network: Path, facts: dict) -> None:
    """Write the YAML file beside a network."""
    network.with_suffix(".yaml").write_text(yaml.dump(facts, Dumper=yaml.CSafeDumper))


def paint_scene(height: int = 360, width: int = 640) -> np.ndarray:
    """A BGR street: sky above, road below between two pavements, a car on the right half of the road."""
    return _scene(height, width).copy()


@functools.lru_cache(16)
def _scene(height: int, width: int) -> np.ndarray:
    scene = np.empty((height, width, 3), np.uint8)
    scene[: height // 2] = rgb("sky")
    scene[height // 2:] = rgb("pavement")
    scene[height // 2:, width // 5: width * 4 // 5] = rgb("road")
    scene[height * 5 // 9: height * 6 // 9, width * 11 // 20: width * 13 // 20] = rgb("car")
    return np.ascontiguousarray(scene[:, :, ::-1])
