"""Decoders that segmentation_models lacks, each in a module of its name with the function `build`."""
