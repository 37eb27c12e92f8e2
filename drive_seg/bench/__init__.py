"""What `drive-seg bench` measures: stages of a frame, other ways beside it, the node over DDS, resolutions."""
