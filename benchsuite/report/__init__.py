"""A page and a results file, both pure functions of what the claims recorded."""
