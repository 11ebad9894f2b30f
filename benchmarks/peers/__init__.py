"""The same workloads on other libraries.

``runs`` measures. It starts ``with_apscheduler`` and ``with_pgqueuer`` as processes of the environment
that ``environment`` makes, in which of this repository only ``worker`` can be imported.
"""
