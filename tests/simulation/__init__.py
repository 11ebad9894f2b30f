"""Whole instances in one simulated time, with every fault that a seed can think of."""
