"""How well scores agree with people: the evaluation itself, its report, published tables and their figures."""
