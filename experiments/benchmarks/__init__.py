"""Speed, memory and scaling: see README.md."""
