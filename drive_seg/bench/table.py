"""The benchmark's results for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drive_seg.bench.measure import inference
from drive_seg.gpu_check.findings import table_of

ROWS = {
    "masks": "labels and drivable area, without health",
    "nothing": "nobody subscribes; health and diagnostics",
    "planner": "all for planners, health, diagnostics",
    "temporal": "the same and the temporal filter",
    "overlay": "all for planners, and overlay raw and as JPEG",
}
"""What drive_seg.bench.every_output measures; every row is compared with the first."""

_VERDICTS = {True: "met   ", False: "MISSED"}


def stages(result: Mapping[str, Any]) -> str:
    """What `drive-seg bench` prints."""
    height, width = result["input_size"]
    camera_height, camera_width = result["camera_size"]
    lines = [f"{result['network']} ({width}x{height}) on {result['engine']} {result['precision']}, {result['device']};"
             f" camera {camera_width}x{camera_height}, {result['frames']} frames, milliseconds", ""]
    ways = result["ways"]
    lines.append(f"{'stage':10}" + "".join(f"{name + ' median':>20}{'p99':>9}" for name in ways))
    for stage in ways["drive_seg"]:
        cells = "".join(f"{w[stage]['median']:20.2f}{w[stage]['p99']:9.2f}" if stage in w else f"{'-':>20}{'-':>9}"
                        for w in ways.values())
        lines.append(f"{stage:10}{cells}")
    lines.append("")
    ours = {name: stage["median"] for name, stage in ways["drive_seg"].items()}
    rest = ours["whole"] - inference(ours)
    lines.append(f"all but inference: {rest:.1f} ms = {rest / inference(ours):.0%} of this network's inference")
    yardstick = f"BiSeNetV2 on the same engine, {result.get('bisenetv2_precision', result['precision'])}"
    for key, name in (("bisenetv2_infer_ms", yardstick), ("pytorch_infer_ms", "PyTorch, eager")):
        if key in result:
            lines.append(f"{name}: inference {result[key]:.1f} ms = {result[key] / inference(ours):.2f} x this one's")
    if result.get("gpu"):
        lines += ["", *table_of(result["gpu"])]
    if "outputs" in result:
        lines += ["", *_outputs(result["outputs"])]
    if "over_dds" in result:
        lines += ["", *_over_dds(result["over_dds"])]
    lines += ["", *(f"{_VERDICTS[t['met']]} {t['text']}: {t['measured']}" for t in result["targets"])]
    if result.get("two_processors_over_one"):
        lines.append(f"note: two processors of this machine do {result['two_processors_over_one']:.1f} times the work"
                     " of one; where that is far below 2, camera, planner and inference wait for each other")
    lines += [f"note: {note}" for note in result["notes"]]
    return "\n".join(lines)


def _outputs(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    stages = ("receive", "health", "diagnostics", "temporal", "publish", "grid", "scan", "points")
    lines = [f"{'outputs, median':50}{'frame':>8}{'adds':>8}{'share':>8}" + "".join(f"{s:>12}" for s in stages)]
    for name, row in rows.items():
        cells = "".join(f"{row['stages_ms'][s]:12.2f}" if s in row["stages_ms"] else f"{'-':>12}" for s in stages)
        compared = name not in ("masks", "nothing")
        adds = f"{row['added_ms']:8.1f}{row['added_share']:8.0%}" if compared else f"{'-':>8}" * 2
        lines.append(f"{ROWS[name]:50}{row['frame_ms']:8.1f}{adds}{cells}")
    return lines


def _over_dds(dds: Mapping[str, Any]) -> list[str]:
    def percentiles(values: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {value:.1f}" for name, value in values.items())

    return [
        f"over DDS, camera and node in processes of their own, {dds['rate_hz']:g} Hz:",
        f"  {dds['published']} published, {dds['received_by_node']} received, {dds['replaced_by_newer']} replaced by a"
        f" newer one while the node worked, {dds['answered']} answered",
        f"  stamp to both masks: {percentiles(dds['latency_ms'])} ms; less inference ({dds['inference_ms']:.1f} ms):"
        f" {percentiles(dds['beyond_inference_ms'])} ms",
        f"  stages: {percentiles(dds['stages_ms'])} ms",
        f"  node's memory: {percentiles(dds['node_memory_mb'])} MB",
    ]


def resolutions(result: Mapping[str, Any]) -> str:
    """What `drive-seg bench --resolutions` prints."""
    lines = [f"{'':12}{result['network']:>28}{'BiSeNetV2':>28}{'ratio':>22}",
             f"{'input':12}" + f"{'M params':>10}{'G macs':>9}{'ms':>9}" * 2 + f"{'params':>8}{'macs':>7}{'time':>7}"]
    for row in result["rows"]:
        cells = "".join(f"{row[name]['parameters'] / 1e6:10.2f}{row[name]['multiply_adds'] / 1e9:9.2f}"
                        f"{row[name]['infer_ms']:9.1f}" for name in ("network", "bisenetv2"))
        ratio = row["ratio"]
        lines.append(f"{row['width']}x{row['height']:<{11 - len(str(row['width']))}}{cells}{ratio['parameters']:8.2f}"
                     f"{ratio['multiply_adds']:7.2f}{ratio['infer_ms']:7.2f}")
    lines += ["", "macs: multiply-adds of one image; ratio: BiSeNetV2 to this network; time: inference on OpenVINO"]
    return "\n".join(lines)


def cameras(result: Mapping[str, Any]) -> str:
    """What `drive-seg bench --cameras` prints."""
    ways = ("one node", "single nodes")
    lines = [f"{'':8}" + "".join(f"{way:>45}" for way in ways) + f"{'ratio':>24}",
             f"{'cameras':8}" + f"{'frames/s':>10}{'cpu ms':>9}{'p50 ms':>9}{'p95 ms':>9}{'MB':>8}" * 2
             + f"{'frames':>10}{'cpu':>7}{'MB':>7}"]
    for row in result["rows"]:
        cells = "".join(f"{row[way]['frames_per_s']:10.1f}{row[way]['cpu_ms']:9.1f}{row[way]['latency_ms']['p50']:9.0f}"
                        f"{row[way]['latency_ms']['p95']:9.0f}{row[way]['memory_mb']:8.0f}" for way in ways)
        ratio = row["ratio"]
        lines.append(f"{row['cameras']:<8}{cells}{ratio['frames_per_s']:10.2f}{ratio['cpu_ms']:7.2f}"
                     f"{ratio['memory_mb']:7.2f}")
    lines += ["", f"{result['size'][1]}x{result['size'][0]} at {result['rate_hz']:g} Hz a camera, by turns, medians;"
              " cpu: processor time a frame; latency from the image's stamp to its labels; MB: of their own, and once"
              " what they share"]
    return "\n".join(lines)
