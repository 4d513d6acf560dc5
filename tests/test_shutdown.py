"""A process that is told to end does so, whatever it is in the middle of."""

import contextlib
import threading
import time

import httpx
from django.test import Client

from .cast import make_agent, make_operator
from .server import Server
from .simulators.base import ANY
from .simulators.faults import Stall
from .simulators.raia import RaiaSimulator


def test_a_request_that_hangs_does_not_keep_the_process(raia: RaiaSimulator) -> None:
    agent = make_agent("Slow", "raia", base_url=raia.url, credentials={"secret_key": raia.key})
    raia.fail_always(ANY, Stall())
    client = Client()
    client.force_login(make_operator("night-shift"))
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    with Server() as server, httpx.Client(base_url=server.url, cookies=cookies) as operator:
        address = f"/admin/chatwidget/agent/{agent.pk}/test/"
        operator.get(address)  # for the form's token
        form = {"csrfmiddlewaretoken": operator.cookies["csrftoken"]}
        hanging = threading.Thread(target=_post, args=(operator, address, form))
        hanging.start()
        raia.wait_for(lambda: raia.stalled == 1)
        asked = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - asked < 15
        raia.release()
        hanging.join(timeout=5)


def _post(operator: httpx.Client, address: str, form: dict[str, str]) -> None:
    with contextlib.suppress(httpx.HTTPError):  # the process ends, as it should
        operator.post(address, data=form, timeout=30)
