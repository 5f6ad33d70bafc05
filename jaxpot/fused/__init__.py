"""Fast forms, each beside the plain form that is its oracle; put in place by `prepare` and `tabulate`, never named by a user."""

from jaxpot.fused import ace, bispectrum, cluster_polynomials, density, eam, mtp, soap  # noqa: F401 - each registers its rules
