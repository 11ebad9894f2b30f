"""Measured claims: ``python -m benchmarks`` runs them all, ``python -m benchmarks NAME`` some.

Nothing here is a test of speed that can fail; but every benchmark verifies its own result (every
event called once, none early, nothing left) and fails if that is not so.
"""
