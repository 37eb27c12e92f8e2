"""What the command line asks the node for."""

import argparse

from drive_seg.cli.options import add_network, node_parameters


def test_every_choice_of_network_reaches_the_node(tmp_path):
    parser = argparse.ArgumentParser()
    add_network(parser)
    args = parser.parse_args(["--network", str(tmp_path / "n.onnx"), "--engine", "openvino", "--precision", "fp32",
                              "--size", "96x160"])
    assert node_parameters(args) == {"engine": "openvino", "precision": "fp32", "network": str(tmp_path / "n.onnx"),
                                     "input_height": 96, "input_width": 160}
    assert node_parameters(parser.parse_args([])) == {"engine": "auto", "precision": "auto"}
