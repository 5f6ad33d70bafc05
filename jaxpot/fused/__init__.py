"""Fast forms, each beside the plain form that is its oracle; put in place by `prepare` and `tabulate`, never named by a user."""
