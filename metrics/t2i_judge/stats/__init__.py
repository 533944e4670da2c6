"""Coefficients, agreement of raters, intervals: pure functions over arrays, gaps are nan."""
