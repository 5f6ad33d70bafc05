"""jaxpot: differentiable interatomic potentials in JAX."""
