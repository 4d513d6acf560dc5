"""The one HTTP client of a process, and the only place where a connection is allowed or refused.

httpx over aiohttp's transport: httpx's own pool costs several times as much per streamed event.
Building a client costs a TLS context, so there is one per process, not one per message.
"""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import httpx
from aiohttp.connector import AddrInfoType
from django.conf import settings
from httpx_aiohttp import AiohttpTransport

from ..errors import Broken, Misconfigured, TimedOut, Unavailable

REFUSED = "a private or local address, which PROVIDER_ALLOW_PRIVATE does not allow"


def forbidden(address: str) -> bool:
    """Whether an IP address is not one of the public internet, also when wrapped in IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64 carries IPv4 in its last 32 bits
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return forbidden(str(inner))
    return not ip.is_global or ip.is_multicast


def guarded_socket(info: AddrInfoType) -> socket.socket:
    """Make the socket for one resolved address, or refuse: what the name said does not count."""
    family, kind, proto, _, target = info
    if not settings.PROVIDER_ALLOW_PRIVATE and forbidden(str(target[0])):
        raise OSError(REFUSED)
    made = socket.socket(family, kind, proto)
    made.setblocking(False)
    return made


def new_client() -> httpx.AsyncClient:
    """Return a client for this event loop: no redirects, no proxies from the environment."""

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=settings.PROVIDER_CONNECTIONS,
            keepalive_timeout=30,
            ssl=httpx.create_ssl_context(trust_env=False),
            socket_factory=guarded_socket,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )

    return httpx.AsyncClient(
        transport=AiohttpTransport(client=session), trust_env=False, follow_redirects=False
    )


@contextmanager
def mapped_errors(label: str) -> Iterator[None]:
    """Turn httpx's and aiohttp's errors into ours.

    Careful with what an error means: the transport calls a connection that broke *after* the
    request went out a ConnectTimeout too, so none of these proves that nothing was sent.
    """
    try:
        yield
    except httpx.ConnectError as error:
        if REFUSED in str(error):
            raise Misconfigured(f"{label}: {REFUSED}", provider=label) from error
        raise Unavailable(f"{label} cannot be reached", provider=label) from error
    except (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout) as error:
        raise TimedOut(f"{label} did not answer in time", provider=label) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
        raise Misconfigured(f"{label}: the base URL cannot be used", provider=label) from error
    except httpx.DecodingError as error:
        raise Broken(f"{label} sent a body that cannot be decoded", provider=label) from error
    except TimeoutError:
        raise  # the deadline of whoever waits; it is mapped where it was set
    except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"the connection to {label} broke", provider=label) from error
