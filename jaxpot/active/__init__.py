"""Active learning: trajectories that choose what is labelled next."""

from jaxpot.active.exploration import Exploration, explore

__all__ = ["Exploration", "explore"]
