"""A backend for Futurama that keeps its events in a text file: the example of docs/write-a-backend.md."""

from futurama_textfile.backend import TextFileBackend, TextFileSettings

__all__ = ["TextFileBackend", "TextFileSettings"]
