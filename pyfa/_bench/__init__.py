"""Measuring attention: problems, contenders, fair timing and what the machine could do."""
