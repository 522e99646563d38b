"""Methods of learning are one module each, with two functions, `material` and `trainer`, and FIGURES; and merging."""
