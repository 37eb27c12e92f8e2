"""The file formats of labelling tools and data sets, one module each."""
