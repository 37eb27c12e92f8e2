"""drive_seg: camera frames in, road / pavement / obstacle labels and drivable-area masks out."""

__version__ = "0.1.0"
