"""Whether the results can be believed: checks of the camera, the speed, the network and the output.

Each check takes times in seconds from whoever calls it, holds little state, and gives a Status.
"""
