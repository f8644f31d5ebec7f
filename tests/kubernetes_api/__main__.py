"""Serve in a process of its own: the URL is the first line of the output.

    python -m tests.kubernetes_api --port 8001 --resource widgets.example.dev/v1=Widget

What can be asked of it besides is in `controls`. `=Widget,nostatus` says that the status is no
subresource. It ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.kubernetes_api.controls import Controlled
from tests.kubernetes_api.resources import Resource
from tests.kubernetes_api.server import serving


def resource(text: str) -> Resource:
    """Return what `plural.group/version=Kind` says."""
    where, _, kind = text.partition("=")
    kind, _, option = kind.partition(",")
    plural, _, api = where.partition(".")
    group, _, version = api.partition("/")
    return Resource(group, version, plural, kind, has_status=option != "nostatus")


async def serve(resources: list[Resource], port: int) -> None:
    async with serving(Controlled(resources), port=port) as url:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        # Until the one who started it has gone.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--resource", type=resource, action="append", default=[])
    options = parser.parse_args()
    asyncio.run(serve(options.resource, options.port))


if __name__ == "__main__":
    main()
