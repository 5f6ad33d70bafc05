"""Heads: from the features of atoms to atomic energies."""
