"""Operators of the integer program on rows: what each element becomes depends on all of its row."""
