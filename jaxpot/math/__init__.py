"""Pure functions and parameter classes without geometry: cutoffs, radial bases, harmonics, rotations, kernels, linear algebra."""
