"""How services are called: JSON over HTTP/1.1 in Connect's wire shape, streams as NDJSON.

`wire` is what both sides agree on, `server` needs aiohttp, `calls` only the standard library, so
that a one-shot command starts fast. Nothing here knows what an entity is.
"""
