"""Where in a bag is little road? Without ROS: python3 examples/bag.py recording/ [TOPIC]

For masks of every frame, health and a report, see `drive-seg replay` and drive_seg.replay_bag.
"""

import sys

import drive_seg

bag, topic = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
shares = {}
with drive_seg.load() as model:
    for shot in drive_seg.open_source(bag, topic=topic):
        try:
            result = model.segment(shot.frame)
        except drive_seg.FrameError as error:  # only this frame is lost
            print(f"frame {shot.name}: {error.reason}")
            continue
        shares[shot.name] = (result.drivable != 0).mean()

for name, share in sorted(shares.items(), key=lambda item: item[1])[:5]:
    print(f"frame {name}: {share:.0%} drivable")
