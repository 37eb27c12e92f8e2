"""From footage without labels to a network that knows the place: self-training, measured on a part held back."""
