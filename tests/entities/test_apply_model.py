"""Apply, update and patch by several managers against one dict from field to value and owners.

The kind has what `things` has not: a keyed list of components with a default inside, and a list
that is one field. Documents and entities also survive their own encoding here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miren.base.errors import Conflict, MirenError
from miren.entities.records import decode, encode, stored_document
from miren.entities.store.api import KeyValue
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from tests.builders import Parcel, Room, make_kinds
from tests.effort import tries
from tests.entities.things import Fields, Key, Plain, Record, escaped

BOX: Key = ("Parcel", "default", "box")
PORT = "/spec/ports/"

ports = st.dictionaries(
    st.sampled_from([80, 443]), st.sampled_from([None, "tcp", "udp"]), max_size=2
).map(
    lambda found: [
        {"port": port} | ({"protocol": protocol} if protocol else {})
        for port, protocol in found.items()
    ]
)
env = st.sampled_from([{"A": "1"}, {"A": "2"}, {"B/~": "1"}, {"A": "1", "B/~": "2"}])
PARTS: Mapping[str, st.SearchStrategy[Any]] = {
    "weight": st.integers(1, 3),
    "code": st.sampled_from(["c1", "c2"]),
    "env": env,
    "ports": ports.filter(bool),
    "rooms": st.sampled_from([["x"], ["x", "y"], ["y", "x"]]),
}
specs = st.lists(st.sampled_from(sorted(PARTS)), max_size=4, unique=True).flatmap(
    lambda some: st.fixed_dictionaries({name: PARTS[name] for name in some})
)
labels = st.sampled_from([{}, {}, {"app": "x"}, {"app": "y", "tier": "x"}])


@dataclass(frozen=True)
class Step:
    """One write: who, how, and what the spec and labels are to be."""

    verb: str
    manager: str
    force: bool
    spec: dict[str, Any]
    labels: dict[str, str]


steps = st.builds(
    Step,
    st.sampled_from(["apply", "apply", "apply", "update", "patch"]),
    st.sampled_from(["one", "two", "three"]),
    st.booleans(),
    specs,
    labels,
)


def fields_of(spec: Mapping[str, Any], labels: Mapping[str, str]) -> Fields:
    found: Fields = {f"/metadata/labels/{key}": value for key, value in labels.items()}
    for name, value in spec.items():
        if name == "env":
            found |= {f"/spec/env/{escaped(key)}": item for key, item in value.items()}
        elif name == "ports":
            for port in value:
                found |= {f"{PORT}{port['port']}/{part}": item for part, item in port.items()}
        else:
            found[f"/spec/{'rooms' if name == 'aliases' else name}"] = value
    return found


class PlainParcel(Plain):
    """The model for a kind with a keyed list."""

    def shown(self, kind: str, fields: Mapping[str, object]) -> Fields:
        found: Fields = {"/spec/weight": 1, "/spec/rooms": [], **fields}
        for name in fields:
            if name.startswith(PORT) and name.endswith("/port"):
                found.setdefault(f"{name.removesuffix('port')}protocol", "tcp")
        for part in ("/spec/env", "/spec/ports"):
            if not any(name.startswith(f"{part}/") for name in found):
                found[part] = {}
        return found

    def stored(self, kind: str, fields: Mapping[str, object]) -> Fields:
        return {
            name: value
            for name, value in fields.items()
            if (name, value) != ("/spec/weight", 1)
            and not (name.startswith(PORT) and value == "tcp")
            and value not in ({}, [])
        }

    def _check_new(self, key: Key, new: Record, old: Record | None) -> None:
        """Nothing here is refused."""

    def change(self, key: Key, new: Record) -> Record:
        """An element goes with its key, unless somebody else has an attribute of it."""
        owned = {name for names in new.owned.values() for name in names}
        fields = dict(new.fields)
        for number in (80, 443):
            inside = f"{PORT}{number}/"
            if any(name.startswith(inside) for name in owned):
                fields.setdefault(f"{inside}port", number)
            elif f"{inside}port" not in fields:
                fields = {n: value for n, value in fields.items() if not n.startswith(inside)}
        return super().change(key, replace(new, fields=fields))


async def do(client: StoreClient, step: Step) -> Parcel:
    spec = step.spec
    if step.verb == "apply":
        partial = Parcel.partial("box", labels=step.labels, **spec)
        return await client.apply(partial, manager=step.manager, force=step.force)
    known = await client.get(Parcel, "box")
    if step.verb == "update":
        wanted = Parcel.new("box", labels=step.labels, **spec)
        new = known.with_spec(wanted.spec).with_metadata(labels=wanted.metadata.labels)
        return await client.update(new, manager=step.manager)
    patch = [
        {"op": "replace", "path": "/spec", "value": {k: v for k, v in spec.items() if v}},
        {"op": "add", "path": "/metadata/labels", "value": step.labels},
    ]
    return await client.patch(Parcel, "box", patch, manager=step.manager)


def predict(model: PlainParcel, step: Step) -> Record:
    fields = fields_of(step.spec, step.labels)
    if step.verb == "apply":
        return model.apply(BOX, fields, manager=step.manager, force=step.force)
    return model.change(BOX, model.take_over(BOX, fields, step.manager))


@settings(max_examples=tries(150, soak=3000))
@given(st.lists(steps, min_size=1, max_size=8))
async def test_managers_share_an_entity_as_one_dict_of_fields_would(program: list[Step]) -> None:
    model = PlainParcel()
    async with MemoryStore() as store:
        client = StoreClient(store=store, kinds=make_kinds())
        for name in ("x", "y"):
            await client.create(Room.new(name))
        for step in program:
            wanted = outcome_of(model, step)
            try:
                await do(client, step)
                error = None
            except MirenError as raised:
                error = raised
            if isinstance(wanted, Conflict):
                assert isinstance(error, Conflict)
                assert sorted(str(error).splitlines()) == str(wanted).splitlines()
            elif isinstance(wanted, MirenError):
                assert type(error) is type(wanted)
            else:
                assert error is None
                stored = await client.get(Parcel, "box")
                document = stored.to_document()
                spec = {k: v for k, v in document["spec"].items() if v not in ([], {})}
                found = fields_of(spec, document["metadata"].get("labels", {}))
                assert model.shown("Parcel", found) == model.shown("Parcel", wanted.fields)
                assert await client.managers(Parcel, "box") == wanted.owned


def outcome_of(model: PlainParcel, step: Step) -> Record | MirenError:
    try:
        return predict(model, step)
    except MirenError as error:
        return error


@given(specs, labels, st.sampled_from(["", "here", "\0 ünï"]))
def test_an_entity_survives_its_stored_form_and_equal_ones_have_equal_bytes(
    spec: dict[str, Any], labels: dict[str, str], place: str
) -> None:
    made = Parcel.new("box", labels=labels, **spec)
    made = made.with_status(made.status.model_copy(update={"place": place}))
    stored = KeyValue("/e/x", encode(stored_document(made)), 1, 7, 1)
    again = decode(Parcel, stored)
    assert again == made.with_metadata(resource_version="7")
    assert encode(stored_document(again)) == stored.value
    turned = dict(reversed(spec.items()))
    other = Parcel.new("box", labels=dict(reversed(labels.items())), **turned)
    other = other.with_status(made.status)
    assert encode(stored_document(other)) == stored.value
