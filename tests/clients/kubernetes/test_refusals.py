"""What goes wrong is told in our words, and no write is said to be undone that may be done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from miren.base.errors import (
    Conflict,
    InvalidInput,
    MirenError,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
    Unimplemented,
)
from miren.clients.kubernetes import KubernetesClient
from miren.entities.client import Actor
from miren.entities.entity import Entity
from tests.builders import (
    KINDS,
    Greeting,
    GreetingSpec,
    GreetingStatus,
    Nothing,
    make_greeting,
)
from tests.kubernetes_api import KubernetesAPI, Resource, serving


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, InvalidInput),
        (403, Refused),
        (409, Conflict),
        (415, InvalidInput),
        (422, InvalidInput),
        (429, Unavailable),
        (500, OutcomeUnknown),
        (503, Unavailable),
        (504, OutcomeUnknown),
    ],
)
async def test_a_refused_write_says_whether_it_may_have_been_done(
    client: KubernetesClient, api: KubernetesAPI, code: int, error: type[MirenError]
) -> None:
    api.planned = [code]
    with pytest.raises(MirenError) as raised:
        await client.create(make_greeting())
    assert type(raised.value) is error
    assert raised.value.entity == "greeting/hi"


async def test_a_change_that_nobody_here_has_seen_is_not_overwritten(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    made = await client.create(make_greeting())
    resource, key = Resource.of(Greeting), ("default", "hi")
    document = api.objects.get(resource, *key).document
    api.objects.write(resource, key, {**document, "status": {"heard": 7}}, status=True)
    with pytest.raises(Conflict):
        await client.update_status(made.with_status(GreetingStatus(heard=1)))
    with pytest.raises(Conflict):
        await client.update(made.with_spec(GreetingSpec(text="mine")))
    assert (await client.get(Greeting, "hi")).status.heard == 7


async def test_without_the_right_token_nobody_comes_in() -> None:
    api = KubernetesAPI([Resource.of(kind) for kind in KINDS], token="open")
    async with serving(api) as url:
        async with KubernetesClient(url, token="open") as client:
            await client.create(make_greeting())
        async with KubernetesClient(url, token=lambda: "wrong") as client:
            with pytest.raises(Refused, match="Unauthorized"):
                await client.get(Greeting, "hi")


class Unknown(Entity[Nothing, Nothing], api="example.dev/v1"):
    """No API serves this."""


async def test_a_kind_that_is_not_installed_is_not_there_yet(client: KubernetesClient) -> None:
    with pytest.raises(Unavailable, match="does not serve") as raised:
        await client.list(Unknown)
    assert "CustomResourceDefinition" in str(raised.value.hint)


async def test_a_project_must_be_a_namespace(client: KubernetesClient) -> None:
    with pytest.raises(Refused, match="nowhere"):
        await client.in_project("nowhere").create(make_greeting())


async def test_an_api_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    async with KubernetesClient(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.create(make_greeting())
        with pytest.raises(Unavailable, match="cannot be reached"):
            async with client.watch(Greeting, after=1) as events:
                await anext(events)


async def test_a_broken_connection_leaves_a_write_unknown(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    api.is_away = True
    with pytest.raises(OutcomeUnknown):
        await client.create(make_greeting())
    with pytest.raises(Unavailable):
        await client.get(Greeting, "hi")
    api.is_away = False
    await client.create(make_greeting())


@asynccontextmanager
async def _silent() -> AsyncIterator[str]:
    """Accept connections, and say nothing."""
    over = asyncio.Event()

    async def ignore(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        server.close()


@pytest.mark.parametrize("own", [True, False])
async def test_no_answer_in_time_is_an_error(own: bool) -> None:
    async with _silent() as url, aiohttp.ClientSession() as session:
        given = None if own else session
        async with KubernetesClient(url, timeout=0.05, session=given) as client:
            with pytest.raises(OutcomeUnknown, match=r"no answer in 0\.05 s"):
                await client.create(make_greeting())
            with pytest.raises(Unavailable, match=r"no answer in 0\.05 s"):
                await client.get(Greeting, "hi")


async def test_a_session_that_is_given_is_used_and_left_open(url: str, api: KubernetesAPI) -> None:
    async with aiohttp.ClientSession() as session:
        async with KubernetesClient(url, session=session) as client:
            made = await client.create(make_greeting())
            assert await client.get(Greeting, "hi") == made
            with pytest.raises(NotFound):
                await client.get(Greeting, "ho")
            api.is_away = True
            with pytest.raises(OutcomeUnknown):
                await client.patch(Greeting, "hi", {"spec": {"text": "yo"}})
        assert not session.closed


async def test_a_cancelled_request_spoils_no_other(client: KubernetesClient) -> None:
    await client.create(make_greeting())
    for delay in (0.0, 0.0005, 0.001, 0.002):
        asking = asyncio.create_task(client.get(Greeting, "hi"))
        await asyncio.sleep(delay)
        asking.cancel()
        await asyncio.wait([asking])
        assert (await client.get(Greeting, "hi")).spec.text == "hey"


async def test_more_requests_than_connections_take_turns(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    made = [client.create(make_greeting(f"g{number}")) for number in range(200)]
    assert len({entity.uid for entity in await asyncio.gather(*made)}) == 200
    assert len((await client.list(Greeting)).items) == 200


async def test_outside_of_its_context_a_client_says_so(url: str) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await KubernetesClient(url).get(Greeting, "hi")


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.referrers(Greeting, "hi"),
        lambda client: client.dependents("uid"),
        lambda client: client.reveal(Greeting, "hi"),
        lambda client: client.managers(Greeting, "hi"),
        lambda client: client.get(Greeting, "hi", revision=7),
    ],
)
async def test_what_kubernetes_does_not_do_is_said_to_be_so(
    client: KubernetesClient, call: Callable[[KubernetesClient], Awaitable[object]]
) -> None:
    with pytest.raises(Unimplemented) as raised:
        await call(client)
    assert raised.value.hint
    with pytest.raises(Unimplemented):
        client.session(holder="me")
    with pytest.raises(Unimplemented):
        client.acting_as(Actor("somebody"))
