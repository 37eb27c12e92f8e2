"""A parameter file gives drive-seg replay what it gives a node: the real rcl reads it beside our reader."""

import pytest
import rclpy

from drive_seg.parameter_file import read_sections

TEXT = """
/**:
  ros__parameters:
    texts: {plain: hello, tilde: ~, quoted: "yes", single: '2.0', binary: 0b1, under: 1_000, date: 2024-01-01}
    numbers: {one: 1, plus: +3, minus: -4, hexadecimal: 0x10, octal: 010, half: .5, whole: 5., power: 1e-3, big: 1E5,
              eight: 08.5, infinite: .inf}
    flags: {yes: yes, no: NO, on: on, off: Off, y: y, n: n, "true": true, "false": FALSE}
    lists: {ints: [1, 2], texts: [a, b], floats: [0.5, 1.5]}
/*:
  ros__parameters: {a: star, order: star}
/**/drive_seg:
  ros__parameters: {b: any, order: any}
/*/drive_seg:
  ros__parameters: {c: one}
front:
  drive_seg:
    ros__parameters: {d: nested, deep: {er: {est: 3}}, order: nested}
drive_seg:
  ros__parameters: {e: plain, order: plain}
/other:
  ros__parameters: {f: other}
"""


@pytest.mark.parametrize("namespace", ["", "/front", "/rear", "/a/b"])
def test_as_rcl(domain, tmp_path, namespace):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context, domain_id=domain)
    node = rclpy.create_node("drive_seg", namespace=namespace, context=context)
    try:
        expected = {name: value.value for name, value in node._parameter_overrides.items()}
        name = node.get_fully_qualified_name()
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    ours = {}
    for section in read_sections(path):
        if section.fits(name):
            ours |= section.values
    assert ours == {name: list(value) if isinstance(value, list) else value for name, value in expected.items()}
    assert {n: type(v) for n, v in ours.items()} == {n: type(v) for n, v in expected.items()}
