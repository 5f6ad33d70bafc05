"""Fitting: one statistical model, y = A(θ) w + ε with w ~ N(0, Λ(θ)⁻¹) and ε ~ N(0, Σ), one solver and one evidence."""

from jaxpot.fit.bootstrap import bootstrap
from jaxpot.fit.design import design
from jaxpot.fit.evidence import log_evidence
from jaxpot.fit.force_scales import force_scales
from jaxpot.fit.history import plot_history
from jaxpot.fit.last_layer import last_layer
from jaxpot.fit.linear import linear
from jaxpot.fit.minibatches import steps_per_epoch
from jaxpot.fit.optimise import Maximum, maximise_evidence
from jaxpot.fit.posterior import Posterior, posterior
from jaxpot.fit.report import not_predicted, plot_parity, predict, report, table
from jaxpot.fit.sparse import count_distinct, select_environments
from jaxpot.fit.standardise import standardise
from jaxpot.fit.train import split, train
from jaxpot.fit.uncertainty import calibration, coverage, evaluate_samples, most_uncertain
from jaxpot.fit.validation import validation_loss

__all__ = [
    "Maximum", "Posterior", "bootstrap", "calibration", "count_distinct", "coverage", "design", "evaluate_samples", "force_scales", "last_layer",
    "linear", "log_evidence", "maximise_evidence", "most_uncertain", "not_predicted", "plot_history", "plot_parity", "posterior", "predict",
    "report", "select_environments", "split", "standardise", "steps_per_epoch", "table", "train", "validation_loss",
]  # fmt: skip
