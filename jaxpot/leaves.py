"""What type checkers know of models: leaves are made of anything that is like an array, and read as arrays."""

from typing import TYPE_CHECKING, Any, Self

import jax

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Number = float | np.number | np.ndarray | jax.Array
    Numbers = Number | Sequence[Number] | Sequence[Sequence[Number]] | Sequence[Sequence[Sequence[Number]]]

    class Leaf:
        """A leaf: takes numbers, lists and arrays of NumPy and JAX, and is an array."""

        def __get__(self, owner: Any, kind: Any = None) -> jax.Array: ...
        def __set__(self, owner: Any, value: Numbers) -> None: ...

    class OptionalLeaf:
        """A leaf or None; which of them is the business of whoever reads it."""

        def __get__(self, owner: Any, kind: Any = None) -> Any: ...
        def __set__(self, owner: Any, value: Numbers | None) -> None: ...
else:
    Leaf, OptionalLeaf = jax.Array, jax.Array | None


class Tree:
    """What `@pytree` adds to a class."""

    if TYPE_CHECKING:

        def replace(self, **changes: Any) -> Self:
            """A copy with some fields changed; validates like construction."""
            ...
