"""FrameSource on disk or from a device, as frames with time stamps."""
