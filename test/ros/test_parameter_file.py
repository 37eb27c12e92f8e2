"""A parameter file gives drive-seg replay what it gives a node: the real rcl reads it beside our reader."""

import pytest
import rclpy

from drive_seg.errors import ParameterError
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




def by_rcl(path, domain, namespace=""):
    """The full name of a node and the parameters that rcl gives it. Raises where rcl refuses the file."""
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context, domain_id=domain)
    try:
        node = rclpy.create_node("drive_seg", namespace=namespace, context=context)
        given = {name: parameter.value for name, parameter in node._parameter_overrides.items()}
        name = node.get_fully_qualified_name()
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    return name, {name: list(value) if isinstance(value, list) else value for name, value in given.items()}


def by_us(path, name):
    ours = {}
    for section in read_sections(path):
        if section.fits(name):
            ours |= section.values
    return ours


@pytest.mark.parametrize("namespace", ["", "/front", "/rear", "/a/b"])
def test_as_rcl(domain, tmp_path, namespace):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    name, expected = by_rcl(path, domain, namespace)
    ours = by_us(path, name)
    assert ours == expected
    assert {n: type(v) for n, v in ours.items()} == {n: type(v) for n, v in expected.items()}


PARAMETERS = "{ros__parameters: {a: 1}}"


@pytest.mark.parametrize("section", [
    "/: {drive_seg: %s}", "/a/**: %s", "/**/**: %s", "/**: {drive_seg: %s}", "front/: {drive_seg: %s}", "'': %s",
    "'': {drive_seg: %s}", "/: %s", "/drive_seg/: %s", "//drive_seg: %s", "/a//drive_seg: %s", "/a: {/drive_seg: %s}",
    "/: {/drive_seg: %s}", "/dr*: %s", "/***: %s", "/3x: %s", "/3a/x: %s", "/dri ve: %s", "/drive.seg: %s", "~: %s",
    "ros__parameters: {a: 1}", "? [a]\n: %s", "&a /x: %s\n*a : %s", "/**: %s\n---\n/drive_seg: %s",
])
def test_sections_as_rcl(domain, tmp_path, section):
    compare(section.replace("%s", PARAMETERS), domain, tmp_path)


@pytest.mark.parametrize("value", [
    "!!str 3", "!!str true", "!!str", "!!float '3'", "[!!str 3, a]", "[1, 2.0]", "[yes, maybe]", "['1', 1]", "inf",
    "-Infinity", ".iNf", "+.Inf", "-.nan", "+.nan", ".nAN", "nan(1)", "0x1p5", "0x1.8", "-0X.8P-1", "0x1p99999",
    "0x10000000000000000", "9223372036854775808", "-9223372036854775808", "1e400", "1e-400", "1e-310", "0e-999", "089",
    "|-\n      true", ">-\n      3", "|\n      3", "|-", "{? [a] : 1}", "{'': 1}", "{'b.': {c: 1}}",
])
def test_values_as_rcl(domain, tmp_path, value):
    compare(f"/**:\n  ros__parameters:\n    a: {value}\n", domain, tmp_path)


def compare(text, domain, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    try:
        _, expected = by_rcl(path, domain)
    except RuntimeError as error:
        assert "parse params file" in str(error)
        expected = None
    if expected is None:
        with pytest.raises(ParameterError, match="is not a parameter file"):
            read_sections(path)
    else:  # as text: nan is not nan
        assert repr(by_us(path, "/drive_seg")) == repr(expected)
