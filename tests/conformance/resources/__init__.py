"""The checks, a file for each resource."""
