"""Potentials: from a structure to atomic energies; forces and virials follow by automatic differentiation."""
