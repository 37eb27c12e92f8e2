"""Playing recorded footage live on ROS topics: a camera from any source, a bag as it was recorded."""
