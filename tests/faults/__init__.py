"""What must survive: instances and servers that are killed in the middle of work.

The scenarios are run small by the tests here, and at full size by hand: ``python -m tests.faults``.
"""
