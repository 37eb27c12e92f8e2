"""The ROS 2 node: parameters, topics, time and life cycle around the core."""
