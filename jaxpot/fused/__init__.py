"""Fast forms, each beside the plain form that is its oracle; put in place by `prepare` and `tabulate`, never named by a user.

What is imported here registers its rules.
"""

from jaxpot.fused.ace import BlockACE, LinearACE
from jaxpot.fused.bispectrum import BlockBispectrum, LinearBispectrum
from jaxpot.fused.cluster_polynomials import BlockClusters, LinearClusters
from jaxpot.fused.density import PrimitiveDensity, TableDensity, TableTurboDensity
from jaxpot.fused.eam import CubicEAM
from jaxpot.fused.mtp import BlockMTP
from jaxpot.fused.soap import LinearPrimitives, LinearSOAP

__all__ = [
    "BlockACE",
    "BlockBispectrum",
    "BlockClusters",
    "BlockMTP",
    "CubicEAM",
    "LinearACE",
    "LinearBispectrum",
    "LinearClusters",
    "LinearPrimitives",
    "LinearSOAP",
    "PrimitiveDensity",
    "TableDensity",
    "TableTurboDensity",
]  # fmt: skip
