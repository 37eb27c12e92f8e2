"""Segment an image: python3 examples/image.py road.jpg out.png"""

import sys

import cv2

import drive_seg

source, target = sys.argv[1:]
with drive_seg.load() as model:
    result = model.segment(cv2.imread(source))

print(model)
print(result)
for name, label in {"road": 1, "pavement": 2, "obstacle": 3}.items():
    print(f"{name}: {(result.labels == label).mean():.0%} of the image")
cv2.imwrite(target, result.draw())
