"""Backends that are wrong in one way each: what the conformance suite must find."""
