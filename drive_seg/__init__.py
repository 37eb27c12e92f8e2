"""drive_seg: camera frames in, road / pavement / obstacle labels and drivable-area masks out."""

from drive_seg import numba_cache

__version__ = "0.1.0"

numba_cache.provide()  # before anything imports Numba
