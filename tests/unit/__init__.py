"""Tests of the core: the memory backend, virtual time, no server, no process, no sleeping."""
