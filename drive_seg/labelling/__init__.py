"""From a drive to labelled pictures: which frames to label, drafts for labelling tools, and what comes back."""
