"""How well scores agree with people: the evaluation, its report, and published tables with their figures."""
