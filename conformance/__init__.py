"""The conformance suite: whether a backend keeps the laws of the protocol.

Subclass :class:`BackendConformance` and run pytest, or call :func:`check`, or run
``python -m futurama.conformance``. ``docs/conformance.md`` lists the laws.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401 -- only to say what is missing
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"the conformance suite needs hypothesis ({exc}); install it: "
        'pip install "futurama[conformance]"',
        name=exc.name,
    ) from exc

from futurama.conformance.base import Status
from futurama.conformance.failure import LawBroken, SetUpError
from futurama.conformance.laws import LAWS, Law
from futurama.conformance.runner import Report, Result, check, check_suite
from futurama.conformance.suite import BackendConformance, deviates

__all__ = [
    "LAWS",
    "BackendConformance",
    "Law",
    "LawBroken",
    "Report",
    "Result",
    "SetUpError",
    "Status",
    "check",
    "check_suite",
    "deviates",
]
