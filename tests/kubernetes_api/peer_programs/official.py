"""Run with the official Python client: does what its users do, and tells what it saw as JSON.

python official.py http://127.0.0.1:8001
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

from kubernetes import client, dynamic, watch  # type: ignore[import-not-found]

GROUP, VERSION, PLURAL = "example.dev", "v1", "greetings"
PLACE = (GROUP, VERSION, "default", PLURAL)


def main() -> None:
    configuration = client.Configuration()
    configuration.host = sys.argv[1]
    api = client.ApiClient(configuration)
    objects = client.CustomObjectsApi(api)
    found: dict[str, Any] = {}
    for step in (
        discovering,
        writing,
        paging,
        conflicting,
        following,
        ending,
        compacted,
        applying,
    ):
        found[step.__name__] = step(api, objects)
    json.dump(found, sys.stdout)


def greeting(name: str, **metadata: Any) -> dict[str, Any]:
    head = {"name": name, **metadata}
    kind = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Greeting"}
    return {**kind, "metadata": head, "spec": {"text": "hey"}}


def refused(call: Any, *arguments: Any, **options: Any) -> Any:
    try:
        call(*arguments, **options)
    except client.ApiException as error:
        reason = json.loads(error.body)["reason"] if error.body else None
        return [error.status, reason]
    return "not refused"


def discovering(api: Any, _: Any) -> Any:
    core, extensions = client.CoreV1Api(api), client.ApiextensionsV1Api(api)
    event = client.CoreV1Event(
        metadata=client.V1ObjectMeta(name="hi.1"),
        involved_object=client.V1ObjectReference(kind="Greeting", name="hi"),
        reason="Greeted",
    )
    core.create_namespaced_event("default", event)
    crds = extensions.list_custom_resource_definition().items
    return {
        "version": client.VersionApi(api).get_code().major,
        "groups": sorted(group.name for group in client.ApisApi(api).get_api_versions().groups),
        "core": [each.name for each in core.get_api_resources().resources],
        "namespaces": [each.metadata.name for each in core.list_namespace().items],
        "crds": sorted(each.metadata.name for each in crds),
        "events": [each.reason for each in core.list_namespaced_event("default").items],
    }


def writing(_: Any, objects: Any) -> Any:
    made = objects.create_namespaced_custom_object(*PLACE, greeting("hi", labels={"app": "web"}))
    patch = {"spec": {"text": "yo"}, "status": {"shout": "no"}}
    patched = objects.patch_namespaced_custom_object(*PLACE, "hi", patch)
    status = objects.patch_namespaced_custom_object_status(
        *PLACE, "hi", {"status": {"shout": "YO"}}
    )
    operations = [{"op": "replace", "path": "/spec/text", "value": "ho"}]
    operated = objects.patch_namespaced_custom_object(
        *PLACE, "hi", operations, _content_type="application/json-patch+json"
    )
    return {
        "uid": made["metadata"]["uid"],
        "generations": [each["metadata"]["generation"] for each in (made, patched, status)],
        "texts": [each["spec"]["text"] for each in (made, patched, status, operated)],
        "statuses": [each.get("status") for each in (made, patched, status)],
        "selected": _names(
            objects.list_namespaced_custom_object(*PLACE, label_selector="app in (web),!old")
        ),
        "missing": refused(objects.get_namespaced_custom_object, *PLACE, "nobody"),
        "taken": refused(objects.create_namespaced_custom_object, *PLACE, greeting("hi")),
        "nowhere": refused(
            objects.create_namespaced_custom_object,
            GROUP,
            VERSION,
            "nowhere",
            PLURAL,
            greeting("hi"),
        ),
    }


def paging(_: Any, objects: Any) -> Any:
    for number in range(4):
        objects.create_namespaced_custom_object(*PLACE, greeting(f"page-{number}"))
    pages, rest = [], ""
    while True:
        page = objects.list_namespaced_custom_object(*PLACE, limit=2, _continue=rest)
        pages.append(_names(page))
        rest = page["metadata"].get("continue", "")
        if not rest:
            return pages


def conflicting(_: Any, objects: Any) -> Any:
    old = objects.get_namespaced_custom_object(*PLACE, "hi")
    new = {**old, "spec": {"text": "new"}}
    replaced = objects.replace_namespaced_custom_object(*PLACE, "hi", new)
    return {
        "text": replaced["spec"]["text"],
        "stale": refused(objects.replace_namespaced_custom_object, *PLACE, "hi", old),
        "other uid": refused(
            objects.delete_namespaced_custom_object,
            *PLACE,
            "hi",
            body={"preconditions": {"uid": "another"}},
        ),
    }


def following(_: Any, objects: Any) -> Any:
    start = objects.list_namespaced_custom_object(*PLACE)["metadata"]["resourceVersion"]
    objects.create_namespaced_custom_object(*PLACE, greeting("watched"))
    objects.patch_namespaced_custom_object(*PLACE, "watched", {"spec": {"text": "yo"}})
    objects.delete_namespaced_custom_object(*PLACE, "watched")
    seen = []
    stream = watch.Watch().stream(
        objects.list_namespaced_custom_object,
        *PLACE,
        resource_version=start,
        allow_watch_bookmarks=True,
        timeout_seconds=20,
    )
    for event in stream:
        seen.append([event["type"], event["object"]["metadata"].get("name")])
        if event["type"] == "BOOKMARK":
            return seen
    return seen


def ending(_: Any, objects: Any) -> Any:
    objects.create_namespaced_custom_object(*PLACE, greeting("held", finalizers=["a.dev/one"]))
    begun = objects.delete_namespaced_custom_object(*PLACE, "held")
    more = {"metadata": {"finalizers": ["a.dev/one", "a.dev/two"]}}
    added = refused(objects.patch_namespaced_custom_object, *PLACE, "held", more)
    objects.patch_namespaced_custom_object(*PLACE, "held", {"metadata": {"finalizers": []}})
    return {
        "begun": "deletionTimestamp" in begun["metadata"],
        "added": added,
        "gone": refused(objects.get_namespaced_custom_object, *PLACE, "held"),
    }


def compacted(api: Any, objects: Any) -> Any:
    start = objects.list_namespaced_custom_object(*PLACE)["metadata"]["resourceVersion"]
    objects.patch_namespaced_custom_object(*PLACE, "hi", {"spec": {"text": "later"}})
    urllib.request.urlopen(f"{api.configuration.host}/-/compact", data=b"").read()
    lists = objects.list_namespaced_custom_object
    stream = watch.Watch().stream(lists, *PLACE, resource_version=start, timeout_seconds=20)
    return refused(list, stream)


def applying(api: Any, _: Any) -> Any:
    known = dynamic.DynamicClient(api).resources.get(api_version="example.dev/v1", kind="Greeting")
    wish = greeting("applied")
    options = {"namespace": "default", "field_manager": "ci"}
    made = known.server_side_apply(body=wish, name="applied", **options)
    wish["spec"] = {"text": "theirs"}
    other = {"namespace": "default", "field_manager": "me"}
    try:
        known.server_side_apply(body=wish, name="applied", **other)
        clash = "none"
    except dynamic.exceptions.ConflictError:
        clash = "conflict"
    forced = known.server_side_apply(body=wish, name="applied", force_conflicts=True, **other)
    return [made.spec.text, clash, forced.spec.text]


def _names(page: Any) -> list[str]:
    return [each["metadata"]["name"] for each in page["items"]]


if __name__ == "__main__":
    main()
