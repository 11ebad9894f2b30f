"""Futurama runs an event at a given time: precisely timed, cancellable, durable."""

from futurama.backend import EventBackend
from futurama.backoff import RetryPolicy
from futurama.config import Config
from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    ConfigError,
    EventExistsError,
    EventsLockedError,
    FuturamaError,
    GiveUp,
    InvalidEventError,
    OutcomeUnknownError,
    QueueStoppedError,
    TryAgain,
    UnknownBackendError,
)
from futurama.events import (
    CancelOutcome,
    Event,
    EventStatus,
    RescheduleOutcome,
    TriggerResult,
)
from futurama.queue import Draft, Queue
from futurama.triggers import Trigger

__all__ = [
    "BackendError",
    "BackendRejectedError",
    "BackendSetupError",
    "BackendUnavailableError",
    "CancelOutcome",
    "Config",
    "ConfigError",
    "Draft",
    "Event",
    "EventBackend",
    "EventExistsError",
    "EventStatus",
    "EventsLockedError",
    "FuturamaError",
    "GiveUp",
    "InvalidEventError",
    "OutcomeUnknownError",
    "Queue",
    "QueueStoppedError",
    "RescheduleOutcome",
    "RetryPolicy",
    "Trigger",
    "TriggerResult",
    "TryAgain",
    "UnknownBackendError",
]
