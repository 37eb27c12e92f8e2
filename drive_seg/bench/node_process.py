"""The real node in a process of its own; when it ends, it prints what it counted and timed as JSON."""

from __future__ import annotations

import json

from drive_seg.ros.main import main


def _report(node) -> None:  # noqa: ANN001 - importing its type would import rclpy too early
    if node.active is not None:
        worker = node.active.worker
        mailbox = worker.mailbox
        print(json.dumps({"received": mailbox.received, "replaced": mailbox.dropped, **worker.counts,
                          "stages": list(worker.stages)}), flush=True)


if __name__ == "__main__":
    main(at_end=_report)
