"""Descriptors: pure functions from a structure, or from one atom's surroundings, to features."""
