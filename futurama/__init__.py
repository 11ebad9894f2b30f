"""Futurama runs an event at a given time."""
