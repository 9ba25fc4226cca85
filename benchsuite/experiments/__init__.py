"""A paper's set-up over one or more banks: what the claims of a family are given."""
