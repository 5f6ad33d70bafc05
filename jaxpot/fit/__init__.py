"""Fitting: one statistical model, y = A(θ) w + ε with w ~ N(0, Λ(θ)⁻¹) and ε ~ N(0, Σ), one solver and one evidence."""

from jaxpot.fit.design_matrix import design
from jaxpot.fit.errors import noise_by_type, not_predicted, plot_learning_curve, plot_parity, predict, report, table
from jaxpot.fit.evidence import log_evidence
from jaxpot.fit.history import plot_history
from jaxpot.fit.minibatches import steps_per_epoch
from jaxpot.fit.networks import last_layer
from jaxpot.fit.noise_and_scales import Levels, levels
from jaxpot.fit.objectives import Optimum, Term, objective
from jaxpot.fit.optimise import Maximum, maximise_evidence
from jaxpot.fit.posteriors import Posterior, posterior
from jaxpot.fit.prior_scales import force_scales
from jaxpot.fit.resampling import bootstrap
from jaxpot.fit.solver import linear
from jaxpot.fit.sparse import count_distinct, select_environments
from jaxpot.fit.spread import deviations
from jaxpot.fit.standardisation import standardise
from jaxpot.fit.training import split, train
from jaxpot.fit.uncertainty import calibration, coverage, evaluate_samples, force_deviations, most_uncertain
from jaxpot.fit.updating import update
from jaxpot.fit.validation import validation_loss

__all__ = [
    "Levels", "Maximum", "Optimum", "Posterior", "Term", "bootstrap", "calibration", "count_distinct", "coverage", "design", "deviations",
    "evaluate_samples", "force_deviations", "force_scales", "last_layer", "levels", "linear", "log_evidence", "maximise_evidence", "most_uncertain",
    "noise_by_type", "not_predicted", "objective", "plot_history", "plot_learning_curve", "plot_parity", "posterior", "predict", "report",
    "select_environments", "split", "standardise", "steps_per_epoch", "table", "train", "update", "validation_loss",
]  # fmt: skip
