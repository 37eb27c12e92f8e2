"""Segment a video, frame by frame: python3 examples/video.py drive.mp4 out.mp4 [SECONDS]"""

import sys

import cv2

import drive_seg

source, target = sys.argv[1:3]
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else None
footage = drive_seg.open_source(source, duration=seconds)  # a folder of images, a bag and /dev/video0 work as well
out = None
with drive_seg.load(temporal_filter=True) as model:
    for shot in footage:
        result = model.segment(shot.frame, stamp=shot.stamp_ns / 1e9)
        picture = result.draw()
        if out is None:
            out = cv2.VideoWriter(target, cv2.VideoWriter_fourcc(*"mp4v"), footage.rate, picture.shape[1::-1])
        out.write(picture)
        print(f"{shot.name}: {result}")
if out is not None:
    out.release()
