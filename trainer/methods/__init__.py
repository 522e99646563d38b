"""Methods of learning. Each is one module with two functions, `material` and `trainer`, and FIGURES."""
