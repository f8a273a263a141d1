"""Benchmarks: run by hand (`python -m tests.bench`), never part of the tests."""
