"""A picture far larger than a camera's leaves no memory behind, once smaller ones follow."""

import json
import os
import subprocess
import sys

_WORK = """
import array, json, sys
from drive_seg.ros import transport
transport.apply()
import cv2, numpy as np, psutil
from sensor_msgs.msg import CompressedImage
from drive_seg.pipeline import Pipeline
from drive_seg.ros.images import to_frame
from drive_seg.settings import Settings

def message(side):
    base = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    data = cv2.imencode(".jpg", cv2.resize(base, (side, side)))[1]
    return CompressedImage(format="jpeg", data=array.array("B", data.tobytes()))

def memory(messages, pipeline):
    for number, sent in enumerate(messages):
        frame = to_frame(sent, 70_000_000)
        pipeline.answer(frame, pipeline.look(frame, number, number))
    return psutil.Process().memory_info().rss

small, big = message(400), message(8000)
with Pipeline.open(Settings(network=sys.argv[1], engine="openvino", frozen_timeout=0.0)) as pipeline:
    print(json.dumps([memory([small] * 10, pipeline), *(memory([big] + [small] * 10, pipeline) for _ in range(3))]))
"""


def test_after_a_picture_of_8000x8000(colour_network_path):
    done = subprocess.run([sys.executable, "-c", _WORK, str(colour_network_path)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=300, check=True)
    before, *after = json.loads(done.stdout.splitlines()[-1])
    picture = 3 * 8000 * 8000
    assert all(now < before + picture / 4 for now in after), [before, *after]
