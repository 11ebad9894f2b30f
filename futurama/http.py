"""The trigger that calls a URL. Needs httpx: ``pip install "futurama[http]"``.

What to call stands in the event's data, in one of two forms. By URL::

    {
        "url": "https://example.com/finish",
        "method": "PUT",
        "headers": {"X-Team": "7"},
        "json": {"building": 7}
    }

Only ``url`` is required. ``method`` is POST unless given; the value of ``json``, if there is that
key, is the body. Any other key is a mistake and buries the event. Or by host, as the Go original
did::

    {"host": "example.com", "port": 8080, "path": "/finish", "data": {"building": 7}}

which posts the value of ``data`` as JSON to ``http://example.com:8080/finish``. Only ``host`` is
required, the port is 80 and the path ``/`` unless given; any other key is ignored, because the
service of the original stored all of its request here.

Every call carries what its target needs to recognise a repeated one:

=========================== ==================================================================
``Futurama-Event-Id``       the event's id: the same for all attempts; characters that no header
                            may contain, and ``%``, are percent-encoded as UTF-8
``Futurama-Attempt``        1 for the first call
``Futurama-Trigger-Time``   when the first call was wanted, ISO 8601
``Idempotency-Key``         the event's id, as above
=========================== ==================================================================

The event's own headers replace ``Idempotency-Key``, ``Content-Type`` and ``User-Agent``, never the
``Futurama-`` ones.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import attrs

from futurama import payload
from futurama.errors import GiveUp, TryAgain
from futurama.events import Event

try:
    import httpx
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f'the HTTP trigger needs httpx ({exc}); install it: pip install "futurama[http]"',
        name=exc.name,
    ) from exc

__all__ = ["HttpTrigger"]

_MAX_BODY_BYTES = 64 * 1024
"""As much of an answer is read, so that its connection can be used again; a longer one is closed."""

_SHOWN = 300
"""How many characters of a URL, a value or an error a reason repeats."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110, section 5.6.2)."""

_FIELD = re.compile(r"[\t\x20-\x7e]*")
"""A header's value; more than ASCII has no agreed meaning (RFC 9110, section 5.5)."""

_HEADER_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")

_FRAMING = {"content-length", "transfer-encoding", "connection"}
"""Headers that say where a request ends: whoever sets them wrong garbles the next one."""


class HttpTrigger:
    """Calls the URL in the event's data; this module's docstring describes the data.

    An answer of 2xx ends the event. Any other answer, redirects included, and every failure of the
    network is tried again, by the backoff of the queue; data that can never work goes to the dead
    letters at once. Cookies are ignored: no event knows of another. An object may be used by
    several queues at once, and again after they were stopped.

    Args:
        timeout: how long a call may take altogether, from the wish for a connection to the end of
            the answer. Keep it below the lease (``consumer_lock_timeout_sec``): a call that
            outlives its lease because the backend is out of reach is repeated while it still runs.
            ``futurama run`` takes 10 s or half the lease, whichever is shorter.
        max_connections: how many connections are open at once in one event loop, idle ones
            included; further calls wait for one, which counts towards ``timeout``.
        tls: which certificates to trust; by default those of the package certifi.
        trust_env: whether the variables ``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY`` and
            ``SSL_CERT_FILE`` count.

    Raises:
        ValueError: ``timeout`` or ``max_connections`` is not positive.
    """

    def __init__(
        self,
        *,
        timeout: timedelta = timedelta(seconds=10),
        max_connections: int = 100,
        tls: ssl.SSLContext | None = None,
        trust_env: bool = True,
    ) -> None:
        if timeout <= timedelta(0):
            raise ValueError(f"timeout must be positive, got {timeout!r}")
        if max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, got {max_connections!r}")
        self._timeout_seconds = timeout.total_seconds()
        self._max_connections = max_connections
        # Made here and not at the first call: reading all certificates takes 30 ms.
        self._tls = tls or httpx.create_ssl_context(trust_env=trust_env)
        self._trust_env = trust_env
        self._lock = threading.Lock()
        # A connection belongs to the loop in which it was opened.
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()

    async def trigger(self, event: Event) -> None:
        """Call the URL in ``event.data``.

        Raises:
            TryAgain: the answer was not 2xx, or there was none.
            GiveUp: the data cannot be called; says what is wrong with it.
        """
        call = _parse(event.data)
        status = await self._send(call, call.headers_for(event))
        if not 200 <= status < 300:  # noqa: PLR2004 -- 2xx
            raise TryAgain(f"HTTP {status} from {call.shown}")

    async def aclose(self) -> None:
        """Close the connections that were opened in the running loop."""
        with self._lock:
            pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()

    async def _send(self, call: _Call, headers: Mapping[str, str]) -> int:
        """The status of the answer; once that has come, what becomes of the rest is no matter."""
        status: int | None = None
        problem = ""
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._pool().client(call.url) as client,
                client.stream(
                    call.method, call.url, content=call.body, headers=headers, auth=call.auth
                ) as response,
            ):
                status = response.status_code
                await _skip_body(response)
        except (TimeoutError, httpx.TimeoutException):
            problem = f"no answer within {self._timeout_seconds:g} s from {call.shown}"
        except httpx.HTTPError as exc:
            problem = f"no answer from {call.shown}: {type(exc).__name__}: {exc}"
        if status is None:
            raise TryAgain(_cut(problem))
        return status

    def _pool(self) -> _Pool:
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._pools:
                self._pools[loop] = _Pool(self._make_client, self._max_connections)
            return self._pools[loop]

    def _make_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self._tls,
            trust_env=self._trust_env,
            timeout=self._timeout_seconds,
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )


class _Pool:
    """Clients with one connection each, for one event loop.

    One client with many connections looks at all of them, and at all calls that wait for one, again
    and again for each call: from 50 calls at once on it is slower than one at a time, and a service
    that falls behind never catches up (encode/httpcore, pull request 1035).

    Args:
        make: makes a client.
        limit: how many there may be.
    """

    def __init__(self, make: Callable[[], httpx.AsyncClient], limit: int) -> None:
        self._make = make
        self._free = asyncio.Semaphore(limit)
        self._count = 0
        self._limit = limit
        self._is_closed = False
        # (where its connection leads, the client), the one that was used last at the end.
        self._idle: list[tuple[tuple[str, str, int | None], httpx.AsyncClient]] = []

    @asynccontextmanager
    async def client(self, url: httpx.URL) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one call to ``url``, if possible one that is connected already."""
        origin = (url.scheme, url.host, url.port)
        async with self._free:
            client = self._take(origin)
            try:
                yield client
            finally:
                if self._is_closed:
                    await client.aclose()
                else:
                    self._idle.append((origin, client))

    async def aclose(self) -> None:
        """Close the connections; those in use when their calls end."""
        self._is_closed = True
        for _, client in self._idle:
            await client.aclose()

    def _take(self, origin: tuple[str, str, int | None]) -> httpx.AsyncClient:
        for index in reversed(range(len(self._idle))):
            if self._idle[index][0] == origin:
                return self._idle.pop(index)[1]
        if self._count < self._limit:
            self._count += 1
            return self._make()
        # All are connected to elsewhere; the one that was used longest ago connects anew.
        return self._idle.pop(0)[1]


@attrs.frozen
class _Call:
    """What the data asks for, found to be possible.

    Attributes:
        url: without credentials, which httpx would log.
        auth: the credentials that stood in the URL.
        headers: the event's own; their names are lower case.
        body: JSON, or None.
    """

    method: str
    url: httpx.URL
    auth: httpx.Auth | None
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def shown(self) -> str:
        """The URL for people: without credentials and query, where secrets travel."""
        return _cut(str(self.url.copy_with(query=None, fragment=None)))

    def headers_for(self, event: Event) -> dict[str, str]:
        """All headers of one attempt; see this module's docstring for which wins."""
        safe_id = quote(event.id, safe=_HEADER_SAFE)
        content_type = {} if self.body is None else {"content-type": "application/json"}
        return {
            "user-agent": "futurama",
            **content_type,
            "idempotency-key": safe_id,
            **self.headers,
            "futurama-event-id": safe_id,
            "futurama-attempt": str(event.attempt),
            "futurama-trigger-time": event.trigger_time.isoformat(),
        }


def _parse(data: Any) -> _Call:
    """Read an event's data.

    Raises:
        GiveUp: it is of neither form.
    """
    if not isinstance(data, dict):
        raise GiveUp(f"data must be an object with 'url' or 'host', got {_short(data)}")
    if "url" in data:
        return _parse_url_form(data)
    if "host" in data:
        return _parse_host_form(data)
    raise GiveUp(f"data must contain 'url' or 'host', it has {_short(sorted(data))}")


def _parse_url_form(data: Mapping[str, Any]) -> _Call:
    unknown = sorted(set(data) - {"url", "method", "headers", "json"})
    if unknown:
        raise GiveUp(
            f"data with 'url' may contain 'method', 'headers' and 'json', not {_short(unknown)}"
        )
    method = data.get("method", "POST")
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise GiveUp(f"'method' must be a method like 'POST', got {_short(method)}")
    url, auth = _parse_url(data["url"])
    body = payload.encode(data["json"]) if "json" in data else None
    return _Call(method.upper(), url, auth, _parse_headers(data.get("headers", {})), body)


def _parse_host_form(data: Mapping[str, Any]) -> _Call:
    host, port, path = data["host"], data.get("port", 80), data.get("path", "/")
    if not isinstance(host, str) or not host or re.search(r"[/?#@\\\s]", host):
        raise GiveUp(f"'host' must be a name or an address, got {_short(host)}")
    if not _is_port(port):
        raise GiveUp(f"'port' must be an integer from 1 to 65535, got {_short(port)}")
    if not isinstance(path, str):
        raise GiveUp(f"'path' must be a string, got {_short(path)}")
    authority = f"[{host}]" if ":" in host.strip("[]") and not host.startswith("[") else host
    url, auth = _parse_url(f"http://{authority}:{port}/{path.removeprefix('/')}")
    return _Call("POST", url, auth, {}, payload.encode(data.get("data")))


def _parse_url(text: Any) -> tuple[httpx.URL, httpx.Auth | None]:
    """The URL without its credentials, and those."""
    if not isinstance(text, str):
        raise GiveUp(f"'url' must be a string, got {_short(text)}")
    try:
        url = httpx.URL(text)
        is_possible = url.scheme in {"http", "https"} and url.host and _is_port(url.port or 80)
    except (httpx.InvalidURL, ValueError):  # whose text may contain parts of a password
        is_possible = False
    if not is_possible:
        # From the first slashes to the last @, because it is unclear what is what.
        shown = _short(re.sub(r"//.*@", "//***@", text, flags=re.DOTALL).partition("?")[0])
        raise GiveUp(f"'url' must be like 'https://example.com/path', got {shown}")
    if not url.userinfo:
        return url, None
    return url.copy_with(userinfo=b""), httpx.BasicAuth(url.username, url.password)


def _is_port(value: object) -> bool:
    return type(value) is int and 1 <= value <= 65535  # noqa: PLR2004 -- 16 bits


def _parse_headers(headers: Any) -> dict[str, str]:
    if not isinstance(headers, dict):
        raise GiveUp(f"'headers' must be an object, got {_short(headers)}")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise GiveUp(f"{_short(name)} cannot be the name of a header")
        if name.lower() in _FRAMING:
            raise GiveUp(f"the header {name!r} is set by the HTTP client; remove it")
        if not isinstance(value, str) or not _FIELD.fullmatch(value):
            # Not shown: it may be what authorises the call.
            raise GiveUp(f"the value of the header {name!r} must be a string of ASCII characters")
    return {name.lower(): value for name, value in headers.items()}


async def _skip_body(response: httpx.Response) -> None:
    """Read a short body to its end, so that the connection can be used again."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > _MAX_BODY_BYTES:
            return


def _short(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
