"""Files: jaxpot's own models, and readers of others'."""
