"""Measurements: `make bench` prints a table and writes `benchmarks/results.json`. Never part of the tests: a machine's mood is no bug."""
