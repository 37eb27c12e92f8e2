"""The core: numpy, OpenCV and numba only. It knows no ROS, no CUDA and no files."""
