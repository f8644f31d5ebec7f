"""An HTTP API and the engine that works on what it takes, in one process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from miren import (
    Context,
    Controller,
    Engine,
    Entity,
    MirenError,
    Model,
    SQLiteStore,
    field,
    is_ready,
)


class GreetingSpec(Model):
    text: str = field(min_length=1, max_length=80)


class GreetingStatus(Model):
    shout: str = ""


class Greeting(Entity[GreetingSpec, GreetingStatus], api="example.dev/v1"):
    """A text to be shouted."""


class Greeter(Controller[Greeting]):
    async def reconcile(self, ctx: Context[Greeting], greeting: Greeting) -> None:
        ctx.status = GreetingStatus(shout=greeting.spec.text.upper())
        ctx.ready("Greeted")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    store = SQLiteStore(os.environ.get("GREETINGS", "greetings.db"))
    async with Engine(store, [Greeter()]) as engine:
        app.state.client = engine.client
        yield


app = FastAPI(lifespan=lifespan)

STATUS = {"invalid_argument": 422, "not_found": 404, "already_exists": 409, "aborted": 409}
STATUS |= {"deadline_exceeded": 504, "unavailable": 503}


@app.exception_handler(MirenError)
async def answer(_request: Request, error: MirenError) -> JSONResponse:
    """Say what went wrong, and what to do about it."""
    said = {"error": str(error), "hint": error.hint}
    return JSONResponse(said, status_code=STATUS.get(error.code, 500))


@app.put("/greetings/{name}")
async def put(name: str, request: Request) -> dict[str, Any]:
    spec = await request.json()
    partial = Greeting.partial(name, **spec)
    await request.app.state.client.apply(partial, manager="api")
    return shown(await request.app.state.client.wait(Greeting, name, is_ready, timeout=10))


@app.get("/greetings/{name}")
async def get(name: str, request: Request) -> dict[str, Any]:
    return shown(await request.app.state.client.get(Greeting, name))


def shown(greeting: Greeting) -> dict[str, Any]:
    return {"text": greeting.spec.text, "shout": greeting.status.shout}
