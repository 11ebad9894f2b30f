"""Measured claims: ``python -m benchmarks`` runs them all, ``python -m benchmarks NAME`` some.

Nothing here is a test of speed that can fail; but a benchmark fails unless what it measures did
happen. What each of them verifies stands at the head of the page of results.
"""
