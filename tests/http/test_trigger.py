"""The HTTP trigger against a real server."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from futurama import Event, GiveUp, TryAgain
from futurama.http import HttpTrigger
from tests.http.target import Target

NOW = datetime(2030, 1, 31, 18, 0, 0, 250_000, tzinfo=UTC)
SHORT = timedelta(seconds=0.3)


def event(data: Any, *, event_id: str = "id-1", attempt: int = 1) -> Event:
    """An event with this data."""
    return Event(
        id=event_id,
        trigger_type="http",
        trigger_time=NOW,
        data=data,
        attempt=attempt,
        created=NOW - timedelta(hours=1),
    )


def call(
    *events: Event, timeout: timedelta = timedelta(seconds=30), max_connections: int = 100
) -> None:
    """Trigger the events one after another in one event loop."""

    async def main() -> None:
        trigger = HttpTrigger(timeout=timeout, max_connections=max_connections, trust_env=False)
        try:
            for each in events:
                await trigger.trigger(each)
        finally:
            await trigger.aclose()

    asyncio.run(main())


def closed_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# -- what is sent ---------------------------------------------------------------------------------


def test_url_form(target: Target) -> None:
    """Method, headers and JSON of the data are what the target gets."""
    headers = {"X-Team": "7", "Authorization": "Bearer t"}
    data = {
        "url": target.url("/status/200?a=1"),
        "method": "put",
        "headers": headers,
        "json": {"ü": [1, None]},
    }
    call(event(data))
    request = target.only_request
    assert (request.method, request.path) == ("PUT", "/status/200?a=1")
    assert json.loads(request.body) == {"ü": [1, None]}
    assert request.headers["x-team"] == "7"
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "futurama"


def test_url_alone_is_enough(target: Target) -> None:
    """Only the URL is required: then it is a POST without a body."""
    call(event({"url": target.url("/status/204")}))
    request = target.only_request
    assert (request.method, request.body) == ("POST", b"")
    assert "content-type" not in request.headers


def test_null_is_a_body(target: Target) -> None:
    """``"json": null`` sends null, which is not the same as no body."""
    call(event({"url": target.url("/status/200"), "json": None}))
    assert target.only_request.body == b"null"


def test_form_of_the_go_original(target: Target) -> None:
    """What the Go service stored, its whole request, is posted as that did."""
    data = {
        "trigger_time": 1416000000,
        "trigger_type": "http",
        "host": "127.0.0.1",
        "port": target.port,
        "path": "/status/200",
        "data": {"a": 1, "b": "x"},
    }
    call(event(data))
    request = target.only_request
    assert (request.method, request.path) == ("POST", "/status/200")
    assert json.loads(request.body) == {"a": 1, "b": "x"}
    assert request.headers["content-type"] == "application/json"


def test_path_without_a_slash(target: Target) -> None:
    """A path of the Go form that lacks its slash is meant to have one."""
    call(event({"host": "127.0.0.1", "port": target.port, "path": "status/200"}))
    assert target.only_request.path == "/status/200"
    assert target.only_request.body == b"null"


def test_headers_of_an_attempt(target: Target) -> None:
    """The target learns which event it is, which attempt, and for when it was meant (P5)."""
    call(event({"url": target.url("/status/200")}, attempt=3))
    headers = target.only_request.headers
    assert headers["futurama-event-id"] == "id-1"
    assert headers["idempotency-key"] == "id-1"
    assert headers["futurama-attempt"] == "3"
    assert datetime.fromisoformat(headers["futurama-trigger-time"]) == NOW


@pytest.mark.parametrize(
    ("event_id", "sent"),
    [
        ("550e8400-e29b-41d4", "550e8400-e29b-41d4"),
        ("a b", "a%20b"),
        ("ü\r\nX: 1", "%C3%BC%0D%0AX:%201"),
        ("50%", "50%25"),
        (" ", "%20"),
    ],
)
def test_ids_are_made_safe(target: Target, event_id: str, sent: str) -> None:
    """Whatever the id, it arrives in one header and can be decoded."""
    call(event({"url": target.url("/status/200")}, event_id=event_id))
    assert target.only_request.headers["futurama-event-id"] == sent
    assert target.only_request.headers["idempotency-key"] == sent


def test_own_headers_never_replace_the_identity(target: Target) -> None:
    """An event's headers may replace the idempotency key, not what Futurama says of the event."""
    headers = {
        "FUTURAMA-EVENT-ID": "other",
        "Futurama-attempt": "99",
        "Futurama-Trigger-Time": "never",
        "idempotency-KEY": "order-5",
        "Content-Type": "application/vnd.api+json",
        "User-Agent": "game",
    }
    call(event({"url": target.url("/status/200"), "headers": headers, "json": 1}))
    arrived = target.only_request.headers
    assert arrived["futurama-event-id"] == "id-1"
    assert arrived["futurama-attempt"] == "1"
    assert arrived["futurama-trigger-time"] == NOW.isoformat()
    assert arrived["idempotency-key"] == "order-5"
    assert arrived["content-type"] == "application/vnd.api+json"
    assert arrived["user-agent"] == "game"


def test_credentials_of_the_url(target: Target) -> None:
    """Credentials in the URL become basic authorization."""
    call(event({"url": f"http://me:s%20t@127.0.0.1:{target.port}/status/200"}))
    assert target.only_request.headers["authorization"] == "Basic bWU6cyB0"


def test_cookies_do_not_travel(target: Target) -> None:
    """What one call is given as a cookie, no other call sends."""
    call(event({"url": target.url("/cookie")}), event({"url": target.url("/status/200")}))
    assert ["cookie" in request.headers for request in target.requests] == [False, False]


# -- what becomes of it ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_done(target: Target, status: int) -> None:
    """Every answer of 2xx ends the event."""
    call(event({"url": target.url(f"/status/{status}")}))


@pytest.mark.parametrize("status", [304, 400, 404, 429, 500, 503])
def test_any_other_status_is_tried_again(target: Target, status: int) -> None:
    """Everything but 2xx is tried again, and the reason names status and URL."""
    url = target.url(f"/status/{status}")
    with pytest.raises(TryAgain) as caught:
        call(event({"url": url}))
    assert str(caught.value) == f"HTTP {status} from {url}"


def test_redirects_are_not_followed(target: Target) -> None:
    """A redirect is an answer like any other but 2xx: nobody else is called."""
    with pytest.raises(TryAgain, match="HTTP 302"):
        call(event({"url": target.url("/redirect")}))
    assert target.only_request.path == "/redirect"


def test_silence_ends(target: Target) -> None:
    """A target that does not answer is given up after the timeout."""
    with pytest.raises(TryAgain, match=r"no answer within 0\.3 s from http://127"):
        call(event({"url": target.url("/silent")}), timeout=SHORT)


@pytest.mark.parametrize("path", ["/drop", "/garbage"])
def test_broken_answers_are_tried_again(target: Target, path: str) -> None:
    """A connection that is closed and an answer that is no HTTP are failures of the network."""
    with pytest.raises(TryAgain, match=r"no answer from http://127.*RemoteProtocolError"):
        call(event({"url": target.url(path)}))


def test_refused_connection_is_tried_again() -> None:
    """Nobody listening is a failure of the network."""
    with pytest.raises(TryAgain, match=r"no answer from http://127.*ConnectError"):
        call(event({"url": f"http://127.0.0.1:{closed_port()}/"}))


@pytest.mark.parametrize("path", ["/endless", "/stalled"])
def test_the_status_decides(target: Target, path: str) -> None:
    """A body that is too long, or never ends, changes nothing about a 200."""
    call(event({"url": target.url(path)}), timeout=SHORT)


def test_connections_are_used_again(target: Target) -> None:
    """Calls one after another share a connection, failed ones included."""

    async def main() -> None:
        trigger = HttpTrigger(trust_env=False)
        await trigger.trigger(event({"url": target.url("/status/200")}))
        with pytest.raises(TryAgain):
            await trigger.trigger(event({"url": target.url("/status/503")}))
        await trigger.trigger(event({"url": target.url("/status/200")}))
        await trigger.aclose()

    asyncio.run(main())
    assert [request.connection for request in target.requests] == [1, 1, 1]


def test_connections_are_bounded(target: Target) -> None:
    """No more connections than allowed are open at once, whatever the number of calls (P8)."""

    async def main() -> None:
        trigger = HttpTrigger(max_connections=2, trust_env=False)
        calls = [event({"url": target.url("/status/200")}, event_id=str(n)) for n in range(20)]
        await asyncio.gather(*map(trigger.trigger, calls))
        await trigger.aclose()

    asyncio.run(main())
    assert len(target.requests) == 20
    assert {request.connection for request in target.requests} <= {1, 2}


def test_idle_connections_make_room(target: Target) -> None:
    """With all connections open to one target, another one can be called, and then the first."""

    async def main() -> None:
        trigger = HttpTrigger(max_connections=1, trust_env=False)
        for url in (target, other, target):
            await trigger.trigger(event({"url": url.url("/status/200")}))
        await trigger.aclose()

    with Target() as other:
        asyncio.run(main())
        assert len(other.requests) == 1
    assert [request.connection for request in target.requests] == [1, 2]


def test_each_target_keeps_its_connection(target: Target) -> None:
    """Calls to two targets in turn use one connection each."""

    async def main() -> None:
        trigger = HttpTrigger(max_connections=2, trust_env=False)
        for url in (target, other, target, other):
            await trigger.trigger(event({"url": url.url("/status/200")}))
        await trigger.aclose()

    with Target() as other:
        asyncio.run(main())
        assert [request.connection for request in other.requests] == [1, 1]
    assert [request.connection for request in target.requests] == [1, 1]


def test_closing_during_a_call(target: Target) -> None:
    """A call that is under way while the trigger is closed ends as if it were not."""

    async def main() -> None:
        trigger = HttpTrigger(timeout=SHORT, trust_env=False)
        under_way = asyncio.create_task(trigger.trigger(event({"url": target.url("/silent")})))
        while not target.requests:
            await asyncio.sleep(0.001)  # poll: the server is in another loop
        await trigger.aclose()
        with pytest.raises(TryAgain, match="no answer within"):
            await under_way

    asyncio.run(main())


def test_waiting_for_a_connection_counts(target: Target) -> None:
    """A call that finds all connections busy ends with its timeout, too."""

    async def main() -> list[object]:
        trigger = HttpTrigger(timeout=SHORT, max_connections=1, trust_env=False)
        urls = [target.url("/silent"), target.url("/status/200")]
        calls = [trigger.trigger(event({"url": url})) for url in urls]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await trigger.aclose()
        return list(outcomes)

    assert [type(outcome) for outcome in asyncio.run(main())] == [TryAgain, TryAgain]
    assert len(target.requests) == 1


# -- data that can never work ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (None, "data must be an object"),
        ("http://localhost/", "data must be an object"),
        ({}, "must contain 'url' or 'host'"),
        ({"uri": "http://localhost/"}, "it has \\['uri'\\]"),
        ({"url": 5}, "'url' must be a string"),
        ({"url": ""}, "'url' must be like"),
        ({"url": "/path"}, "'url' must be like"),
        ({"url": "localhost/path"}, "'url' must be like"),
        ({"url": "ftp://localhost/"}, "'url' must be like"),
        ({"url": "http:///path"}, "'url' must be like"),
        ({"url": "http://localhost:port/"}, "'url' must be like"),
        ({"url": "http://localhost:99999/"}, "'url' must be like"),
        ({"url": "http://localhost/\n"}, "'url' must be like"),
        ({"url": "http://localhost/\ud800"}, "'url' must be like"),
        ({"url": "http://localhost/", "method": 1}, "'method' must be a method"),
        ({"url": "http://localhost/", "method": "GE T"}, "'method' must be a method"),
        ({"url": "http://localhost/", "body": "x"}, "not \\['body'\\]"),
        ({"url": "http://localhost/", "headers": []}, "'headers' must be an object"),
        ({"url": "http://localhost/", "headers": {"": "x"}}, "cannot be the name of a header"),
        ({"url": "http://localhost/", "headers": {"a:b": "x"}}, "cannot be the name of a header"),
        ({"url": "http://localhost/", "headers": {"a": 1}}, "value of the header 'a'"),
        ({"url": "http://localhost/", "headers": {"a": "ü"}}, "value of the header 'a'"),
        ({"url": "http://localhost/", "headers": {"a": "x\r\nb: c"}}, "value of the header 'a'"),
        (
            {"url": "http://localhost/", "headers": {"Content-Length": "5"}},
            "is set by the HTTP client",
        ),
        ({"host": ""}, "'host' must be"),
        ({"host": 5}, "'host' must be"),
        ({"host": "me@localhost"}, "'host' must be"),
        ({"host": "localhost", "port": "80"}, "'port' must be"),
        ({"host": "localhost", "port": True}, "'port' must be"),
        ({"host": "localhost", "port": 0}, "'port' must be"),
        ({"host": "localhost", "path": None}, "'path' must be"),
        ({"host": "local:host"}, "'url' must be like"),
    ],
)
def test_impossible_data_is_given_up(data: object, complaint: str) -> None:
    """Data that can never be called is refused at once, with what is wrong."""
    with pytest.raises(GiveUp, match=complaint):
        call(event(data))


def test_addresses_of_version_6() -> None:
    """The host may be an IPv6 address, with or without brackets."""
    port = closed_port()
    for host in ("::1", "[::1]"):
        with pytest.raises(TryAgain, match=rf"no answer from http://\[::1\]:{port}/: "):
            call(event({"host": host, "port": port}))


# -- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://me:s3cret@127.0.0.1:{port}/status/503?token=s3cret#s3cret",
        "http://me:s3cret@127.0.0.1:{port}/silent?token=s3cret",
        "http://me:s3cret@127.0.0.1:{port}/drop?token=s3cret",
        "http://me:s3cret@127.0.0.1:port/?token=s3cret",
        "ftp://me:s3cret@127.0.0.1/?token=s3cret",
        "http://me:s3/s3cret@127.0.0.1/?token=s3cret",
    ],
)
def test_secrets_are_not_shown(target: Target, caplog: pytest.LogCaptureFixture, url: str) -> None:
    """Neither a reason nor a log contains the password or the query of a URL."""
    caplog.set_level(logging.INFO)
    with pytest.raises((TryAgain, GiveUp)) as caught:
        call(event({"url": url.format(port=target.port)}), timeout=SHORT)
    assert "s3" not in str(caught.value)
    assert "me:" not in caplog.text


# -- life -----------------------------------------------------------------------------------------


def test_several_loops(target: Target) -> None:
    """One trigger serves several event loops, at once and one after another."""
    trigger = HttpTrigger(trust_env=False)
    both_called = threading.Barrier(2)

    async def main() -> None:
        await trigger.trigger(event({"url": target.url("/status/200")}))
        await asyncio.to_thread(both_called.wait, 30)
        await trigger.aclose()
        await trigger.trigger(event({"url": target.url("/status/200")}))
        await trigger.aclose()
        await trigger.aclose()

    other = threading.Thread(target=lambda: asyncio.run(main()))
    other.start()
    asyncio.run(main())
    other.join(30)
    assert len(target.requests) == 4
    assert {request.connection for request in target.requests} == {1, 2, 3, 4}


@pytest.mark.parametrize("arguments", [{"timeout": timedelta(0)}, {"max_connections": 0}])
def test_arguments_are_checked(arguments: Any) -> None:
    """A trigger that could never call anything cannot be made."""
    with pytest.raises(ValueError, match="got"):
        HttpTrigger(**arguments)
