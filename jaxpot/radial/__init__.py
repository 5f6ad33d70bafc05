"""Radial functions: one family each."""
