"""The laws: what every backend must keep, each with an id and one sentence.

The ids are stable: error messages, the documentation, the names of the tests and of the suite's
own broken backends refer to them. ``claim.next-due`` is checked by ``test_claim_next_due``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final

import attrs

__all__ = ["LAWS", "Law", "as_markdown", "name_of_test", "title"]


@attrs.frozen
class Law:
    """One promise of a backend.

    Attributes:
        id: its stable name, ``"subject.law"``.
        sentence: what holds.
    """

    id: str
    sentence: str

    @property
    def subject(self) -> str:
        """The part of the id before the first dot."""
        return self.id.partition(".")[0]


_SUBJECTS: Final = {
    "protocol": "The protocol itself",
    "id": "Ids",
    "data": "Data",
    "time": "Times",
    "batch": "Batches",
    "add": "Adding",
    "claim": "Claiming",
    "lost": "Lost claims",
    "renew": "Renewing",
    "fence": "Fencing",
    "settle": "Settling",
    "cancel": "Cancelling",
    "reschedule": "Rescheduling",
    "requeue": "Dead letters: requeue",
    "purge": "Dead letters: purge",
    "find": "Looking: find",
    "count": "Looking: count",
    "replay": "Repeating after an unknown outcome",
    "errors": "Errors",
    "lifecycle": "Opening and closing",
    "isolation": "Isolation",
    "concurrency": "Concurrency",
    "shared": "Shared backends (where `capabilities.shared`)",
    "durable": "Durable backends (where `capabilities.durable`)",
    "crash": "Durable backends: crashes (where `capabilities.durable`)",
    "capabilities": "Capabilities",
}

_ALL: Final = (
    # What everything else stands on
    Law(
        "protocol.complete",
        "Every operation of futurama.backend.EventBackend is there and does something.",
    ),
    Law("protocol.returns", "Every operation returns what its signature says."),
    # Ids, data, times
    Law(
        "id.byte-exact",
        "Ids are compared byte for byte: case, trailing spaces, NUL and Unicode forms tell them apart.",
    ),
    Law(
        "data.exact",
        "Id, trigger type, payload, created and owner come back exactly as they were given.",
    ),
    Law(
        "data.limit",
        "A payload of max_data_bytes is stored; of a batch with a longer one nothing is written, "
        "and InvalidEventError is raised.",
    ),
    Law(
        "time.rounds-up",
        "Trigger times, dues and ends of leases are stored rounded up to a multiple of the "
        "resolution; a time of death may be rounded either way.",
    ),
    Law(
        "time.never-early",
        "now and due_before are not rounded up: what is due a microsecond later is not handed out.",
    ),
    Law("time.extremes", "Every instant from year 1 to year 9999 is stored."),
    Law("time.utc", "Times are read back as aware UTC, whatever zone they were given in."),
    # Batches
    Law("batch.empty", "An empty batch gives an empty answer and changes nothing."),
    Law(
        "batch.positional",
        "The answer has one outcome per item, in the order of the items, which stay as they were given.",
    ),
    Law("batch.in-order", "A batch means what its items mean one after another."),
    Law("batch.nothing-else", "An operation changes no event but those that it names."),
    Law("batch.large", "A batch of thousands of items means the same as one of a few."),
    # Adding
    Law("add.new", "A new event is ADDED: WAITING, due at its trigger time, attempt 0."),
    Law("add.raise", 'With if_exists="raise" a taken id is REFUSED and nothing changes.'),
    Law("add.keep", 'With if_exists="keep" a taken id is KEPT and nothing changes.'),
    Law(
        "add.replace",
        'With if_exists="replace" a taken id is REPLACED: the new event waits instead.',
    ),
    Law(
        "add.replace-claimed",
        "Replacing a claimed event ends the claim, and the event counts as lost from then on.",
    ),
    Law("add.dead", "The id of a dead event is taken like any other."),
    # Claiming
    Law("claim.due", "A WAITING event is handed out if and only if due <= due_before."),
    Law("claim.look-ahead", "A lease ends by now, never by due_before."),
    Law("claim.order", "Events are handed out by (due, id), ids compared byte for byte."),
    Law("claim.limit", "At most limit events are handed out."),
    Law("claim.exclusive", "A claimed event is not handed out while its lease runs."),
    Law(
        "claim.lease",
        "A claim lasts until lease_until; from that instant on the event is handed out again.",
    ),
    Law("claim.attempt", "Each claim counts one attempt, starting with 1."),
    Law(
        "claim.token",
        "Each claim has a token that no earlier claim on this id had, even if the event was removed "
        "and added again.",
    ),
    Law("claim.carries", "A claim carries the event as stored, and what its due was before."),
    Law(
        "claim.next-due",
        "next_due is the earliest due of all live events after the call, claimed ones included.",
    ),
    # Lost claims
    Law("lost.counted", "An event counts as lost if and only if a claim on it ended unreported."),
    Law(
        "lost.for-good",
        "Once lost, an event stays so through claims, retries, releases, burials and requeues.",
    ),
    # Renewing, fencing, settling
    Law("renew.extends", "Renewing a held claim moves the end of its lease, in either direction."),
    Law(
        "fence.settle",
        "Settling under a token that is no longer the event's gives False and changes nothing.",
    ),
    Law(
        "fence.renew",
        "Renewing under a token that is no longer the event's gives False and changes nothing.",
    ),
    Law(
        "fence.reported",
        "A claim that was reported already can be neither reported nor renewed again.",
    ),
    Law("fence.gone", "A claim on an event that is gone can be neither reported nor renewed."),
    Law("fence.lease-end", "A claim is held while now < end of lease; at that instant it is lost."),
    Law("settle.done", "done removes the event."),
    Law(
        "settle.retry",
        "retry makes the event wait until the given due, with the given payload if any; attempt and "
        "trigger time stay.",
    ),
    Law(
        "settle.bury",
        "bury makes the event DEAD, with the reason and with now, rounded up or down to the "
        "resolution, as its time of death.",
    ),
    Law(
        "settle.release",
        "release gives back the attempt that the event had before the claim, and the due unless the "
        "report has another.",
    ),
    # Cancelling, rescheduling
    Law("cancel.waiting", "A WAITING event that was never lost is removed: CANCELLED."),
    Law(
        "cancel.claimed",
        "A CLAIMED event is removed: IN_FLIGHT, whether or not its lease has ended.",
    ),
    Law("cancel.lost", "A WAITING event that was once lost is removed: IN_FLIGHT."),
    Law("cancel.dead", "A DEAD event is NOT_FOUND and stays."),
    Law("cancel.absent", "An absent event is NOT_FOUND."),
    Law(
        "reschedule.waiting",
        "A WAITING event that was never lost gets the new time, payload or both: RESCHEDULED; "
        "everything else stays.",
    ),
    Law("reschedule.claimed", "A CLAIMED event is IN_FLIGHT and does not change."),
    Law("reschedule.lost", "A WAITING event that was once lost is IN_FLIGHT and does not change."),
    Law("reschedule.dead", "A DEAD event is NOT_FOUND and does not change."),
    Law("reschedule.absent", "An absent event is NOT_FOUND and stays absent."),
    # Dead letters
    Law("requeue.dead", "A DEAD event waits again: True, due at now, attempt 0, no reason."),
    Law("requeue.others", "An event that is not DEAD, or absent, gives False and does not change."),
    Law(
        "purge.before",
        "Exactly the events that died before the given instant are removed and counted.",
    ),
    # Looking
    Law("find.ids", "Query.ids lets exactly these ids through; an empty list lets none."),
    Law("find.trigger-type", "Query.trigger_type lets exactly this type through, byte for byte."),
    Law("find.state", "Query.state lets exactly this state through."),
    Law(
        "find.due",
        "Query.due_from and due_until let through due_from <= due < due_until, and no DEAD event.",
    ),
    Law("find.order", "Live events come by (due, id), then dead ones by (died, id)."),
    Law(
        "find.pages",
        "A page has at most limit events; following next shows every match once, and next is None on "
        "the page with the last one and on an empty page.",
    ),
    Law("count", "count tells how many events there are in each state, zeros included."),
    # Repeating
    Law(
        "replay.add",
        "add may be repeated after an unknown outcome: a stored repeat is ADDED and changes nothing, "
        "one that is gone is ADDED anew.",
    ),
    Law("replay.cancel", "cancel may be repeated after an unknown outcome."),
    Law("replay.reschedule", "reschedule may be repeated after an unknown outcome."),
    Law(
        "replay.claim",
        "claim may be repeated after an unknown outcome: the first claims just run out.",
    ),
    Law("replay.renew", "renew may be repeated after an unknown outcome."),
    Law(
        "replay.settle",
        "settle may be repeated after an unknown outcome: what was reported gives False.",
    ),
    Law("replay.requeue", "requeue may be repeated after an unknown outcome."),
    Law("replay.purge", "purge may be repeated after an unknown outcome."),
    # The rest
    Law("errors", "A valid call raises nothing."),
    Law("lifecycle.open", "open may be called again and changes nothing."),
    Law("lifecycle.close", "close may be called again; after open everything is there again."),
    Law("lifecycle.now", "now() is aware UTC, within ten minutes of this machine's clock."),
    Law("isolation", "Two stores do not see each other."),
    Law("concurrency.exclusive", "However calls overlap, an event has at most one live claim."),
    Law("concurrency.fence", "However calls overlap, a lost claim is told so and changes nothing."),
    Law(
        "concurrency.cancel",
        "However calls overlap, CANCELLED and RESCHEDULED mean that nobody held a claim.",
    ),
    Law("concurrency.nothing-lost", "However calls overlap, no event vanishes and none appears."),
    Law(
        "shared.one-store", "What one instance did, every other instance on the store sees at once."
    ),
    Law("shared.processes", "Processes that use one store at once keep the laws of concurrency."),
    Law(
        "durable.new-instance",
        "What was acknowledged before close is there for a new instance, claims and dues included.",
    ),
    Law("crash.acknowledged", "What was acknowledged is there after the process was killed."),
    Law(
        "capabilities.declared",
        "capabilities are constant, within their bounds and as declared to the suite.",
    ),
    Law(
        "capabilities.absent",
        "A capability that is not declared is not there: two instances of a backend that is neither "
        "shared nor durable do not see each other's events.",
    ),
)

LAWS: Final[Mapping[str, Law]] = {law.id: law for law in _ALL}
"""Every law by its id, in the order of the documentation."""


def name_of_test(law_id: str) -> str:
    """The name of the test that checks this law."""
    return "test_" + law_id.replace(".", "_").replace("-", "_")


def title(subject: str) -> str:
    """The heading over the laws of a subject."""
    return _SUBJECTS[subject]


def as_markdown() -> str:
    """The list of laws as it stands in ``docs/conformance.md``."""
    return "\n".join(_markdown_lines()).rstrip() + "\n"


def _markdown_lines() -> Iterator[str]:
    for subject, laws in groupby(LAWS.values(), key=lambda law: law.subject):
        yield f"### {title(subject)}\n"
        yield "| law | what holds |"
        yield "|---|---|"
        for law in laws:
            yield f"| `{law.id}` | {law.sentence} |"
        yield ""
