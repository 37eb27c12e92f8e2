"""Training and export of the network (needs torch: `pip install drive-seg[train]`)."""
