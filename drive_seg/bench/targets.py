"""What the measurements must show, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drive_seg.bench.measure import inference

REST_SHARE = 0.25
SPEED_UP = 3.0
MEMORY_MB = 700.0
BEYOND_INFERENCE_MS = 15.0
REPLAY_SHARE = 0.9
OUTPUTS_SHARE = 0.1
UNUSED_SHARE = 0.01


@dataclass(frozen=True)
class Target:
    """One requirement. met: None when it was not measured."""

    text: str
    measured: str
    met: bool | None


def check(result: Mapping[str, Any]) -> list[Target]:
    """The targets against what run() of the bench command measured."""
    ours = {name: stage["median"] for name, stage in result["ways"]["drive_seg"].items()}
    rest = ours["whole"] - inference(ours)
    targets = []
    yardstick = result.get("bisenetv2_infer_ms")
    if yardstick:
        targets.append(Target(f"all but inference takes at most {REST_SHARE:.0%} of BiSeNetV2's inference",
                              f"{rest:.1f} of {yardstick:.1f} ms = {rest / yardstick:.0%}",
                              rest <= REST_SHARE * yardstick))
    if "nav2" in result["ways"]:
        ratio = result["ways"]["nav2"]["whole"]["median"] / ours["whole"]
        targets.append(Target(f"at least {SPEED_UP:g}x as fast as the Nav2 tutorial's way", f"{ratio:.1f}x",
                              ratio >= SPEED_UP))
    outputs = result.get("outputs")
    if outputs:
        planner, unused, frame = outputs["planner"], outputs["nothing"], outputs["masks"]["frame_ms"]
        watching = unused["frame_ms"] - unused["stages_ms"]["receive"]
        targets += [
            Target(f"all outputs for planners, health and diagnostics add at most {OUTPUTS_SHARE:.0%} to a frame",
                   f"{planner['added_ms']:.1f} of {frame:.1f} ms = {planner['added_share']:.0%}",
                   planner["added_share"] <= OUTPUTS_SHARE),
            Target(f"with nobody subscribed a frame takes at most {UNUSED_SHARE:.0%} of one, beyond receiving it",
                   f"{watching:.2f} of {frame:.1f} ms = {watching / frame:.1%}", watching <= UNUSED_SHARE * frame),
        ]
    replay = result.get("replay")
    if replay:
        rates = (f"{replay['replay_fps']:.1f} of {replay['infer_fps']:.1f} frames/s = {replay['of_inference']:.0%};"
                 f" {replay['of_segmentation']:.0%} of segmentation's {replay['segment_fps']:.1f}")
        targets.append(Target(f"offline replay of JPEG frames at {REPLAY_SHARE:.0%} of the rate of inference alone",
                              rates, replay["of_inference"] >= REPLAY_SHARE))
    dds = result.get("over_dds")
    if dds:
        memory = dds["node_memory_mb"]["highest"]
        beyond = dds["beyond_inference_ms"]["p50"]
        lost = dds["lost_to_transport"] + dds["results_lost"]
        targets += [
            Target(f"the node's process stays under {MEMORY_MB:g} MB", f"{memory:.0f} MB", memory < MEMORY_MB),
            Target(f"median from stamp to masks at most inference + {BEYOND_INFERENCE_MS:g} ms",
                   f"{dds['latency_ms']['p50']:.1f} = {dds['inference_ms']:.1f} + {beyond:.1f} ms",
                   beyond <= BEYOND_INFERENCE_MS),
            Target("no frame lost to transport", f"{lost} of {dds['published']}", lost == 0),
        ]
    return targets
