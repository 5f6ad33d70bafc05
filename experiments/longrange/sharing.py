"""Local charges whose excess is shared as surroundings say: a hole sits on a few atoms, which no response with a hardness per element does."""

import jax
import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

import jaxpot as jp
from jaxpot import longrange


class Sharing:
    r"""The most probable charges of a linear head and of linear logarithms of the shares, by damped Gauss-Newton steps.

    .. math:: q_i = h_i + \frac{e^{a_i}}{\sum_j e^{a_j}} \left(Q - \sum_j h_j\right), \qquad h = X w, \quad a = Y v

    Both have the prior of their heads, and labels the deviation that is given. Rows X and Y are made once.

    Args:
      local: charges of a linear head, unfitted.
      logarithm: linear, unfitted.
      data: labels of charges, with noise levels.
    """

    def __init__(self, local: longrange.LocalCharges, logarithm: jp.potentials.base.Potential, data: jp.Dataset):
        self.local, self.logarithm = local, logarithm
        rows = jax.jit(lambda graph: (local.local.basis(graph).energies, logarithm.basis(graph).energies))
        parts = {}
        for frame, one in data.structures():
            n = data.n_atoms[frame]
            x, y = (np.asarray(part)[:n] for part in rows(one.graphs))
            sigma = float(np.ravel(one.sigma.charges)[0])
            parts[frame] = x, y, np.asarray(one.targets.charges)[:n] / sigma, float(one.graphs.charge), sigma
        x, y, self.labels, self.totals, self.sigma = zip(*(parts[frame] for frame in range(len(parts))), strict=True)
        # in coordinates of which the prior is the unit matrix
        self.roots = [np.linalg.cholesky(np.asarray(model.precision())) for model in (local, logarithm)]
        edges = np.cumsum([len(part) for part in x])[:-1]
        self.x, self.y = (
            np.split(solve_triangular(root, np.concatenate(part).T, lower=True).T, edges) for root, part in zip(self.roots, (x, y), strict=True)
        )

    def __call__(self, frames: np.ndarray, scale: float, steps: int) -> longrange.LocalCharges:
        """Fitted to these frames, with so many times the prior deviation of the logarithms."""
        p, size = self.x[0].shape[1], self.x[0].shape[1] + self.y[0].shape[1]
        point, damping = np.zeros(size), 1.0
        objective, curvature, slope = self._normal(frames, point, scale)
        for _ in range(steps):
            while damping < 1e8:
                step = cho_solve(cho_factor(curvature + damping * np.eye(size)), -slope)
                found = self._normal(frames, point + step, scale)
                if found[0] < objective:
                    break
                damping *= 8
            else:
                break
            point, damping = point + step, damping / 8
            objective, curvature, slope = found
        w, v = (solve_triangular(root.T, part) for root, part in zip(self.roots, (point[:p], scale * point[p:]), strict=True))
        fitted = self.local.with_coefficients(w).local
        return longrange.LocalCharges(fitted.descriptor, fitted.head, longrange.Weighted(self.logarithm.with_coefficients(v)))

    def _normal(self, frames: np.ndarray, point: np.ndarray, scale: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Twice the negative logarithm of the posterior, half its slope, and the curvature of Gauss and Newton, at a point."""
        p, errors, rows = self.x[0].shape[1], [], []
        for k in frames:
            x, y, sigma = self.x[k], scale * self.y[k], self.sigma[k]
            h, a = x @ point[:p], y @ point[p:]
            share = np.exp(a - np.max(a))
            share /= np.sum(share)
            excess = self.totals[k] - np.sum(h)
            errors.append((h + share * excess) / sigma - self.labels[k])
            rows.append(np.concatenate([x - np.outer(share, np.sum(x, axis=0)), excess * share[:, None] * (y - share @ y)], axis=1) / sigma)
        errors, rows = np.concatenate(errors), np.concatenate(rows)
        return float(errors @ errors + point @ point), rows.T @ rows + np.eye(len(point)), rows.T @ errors + point
