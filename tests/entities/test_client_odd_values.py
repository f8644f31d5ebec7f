"""What `model_copy` and `replace` let through: nobody looks at it until it is written.

It is refused, or it is stored as reading a document would have it: what a write returns is, to the
types inside, what a read gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

import pytest
from pydantic import field_validator

from miren.base.errors import Conflict, InvalidInput, MirenError
from miren.base.quantities import Duration, Quantity
from miren.entities.checking import check
from miren.entities.entity import Condition, ConditionStatus, Entity, OwnerReference
from miren.entities.kinds import Kinds
from miren.entities.model import Json, Map, Model, Ref, field
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient


class Color(StrEnum):
    GREY = "grey"
    RED = "red"


class Slot(Model, shorthand="number"):
    number: int
    holds: str | None = None


class OddSpec(Model):
    text: str = "x"
    count: int = field(default=1, indexed=True)
    ratio: float = field(default=1.5, indexed=True)
    color: Color = field(default=Color.GREY, indexed=True)
    near: Ref[Odd] | None = field(default=None, to=("Odd",))
    anything: Json = None
    env: Map[str] = field(default={})
    some: Map[Json] = field(default={})
    slots: tuple[Slot, ...] = field(default=(), merge_key="number")
    size: Quantity | None = None
    wait: Duration | None = None
    numbers: tuple[int, ...] = ()


class OddStatus(Model):
    place: str = ""
    slots: tuple[Slot, ...] = ()


class Odd(Entity[OddSpec, OddStatus], api="example.dev/v1"):
    """An attribute of every type that has a likeness."""


class CheckedSpec(Model):
    color: Color = Color.GREY
    env: Map[str] = field(default={})
    other: int = 0

    @field_validator("color")
    @classmethod
    def _any(cls, value: Color) -> Color:
        return value


class Checked(Entity[CheckedSpec, OddStatus], api="example.dev/v1"):
    """One whose spec has a validator that somebody wrote."""


class WiderSpec(OddSpec):
    more: int = 3


def make_client() -> StoreClient:
    return StoreClient(store=MemoryStore(), kinds=Kinds([Odd, Checked]))


def differences(one: object, other: object, at: str = "") -> list[str]:
    """Return where two values differ, be it only in the type."""
    if type(one) is not type(other):
        return [f"{at}: {type(one).__name__} and {type(other).__name__}"]
    if isinstance(one, Model | Entity):
        one, other = vars(one), vars(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return [f"{at}: {one} and {other}"]
        return [
            each for name in one for each in differences(one[name], other[name], f"{at}.{name}")
        ]
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        found = [
            differences(*pair, f"{at}[{n}]")
            for n, pair in enumerate(zip(one, other, strict=False))
        ]
        return [each for some in found for each in some] + [at] * (len(one) != len(other))
    return [] if one == other else [f"{at}: {one!r} and {other!r}"]


LIKE_IT: dict[str, dict[str, object]] = {
    "a bool for an int": {"count": True},
    "an int for a float": {"ratio": 2},
    "a text for an enum": {"color": "red"},
    "the text of the very same enum": {"color": "grey"},
    "a text for a reference": {"near": "o"},
    "a dict for a map": {"env": {"A": "1"}},
    "an empty dict for a map": {"env": {}},
    "a list for a tuple": {"numbers": [1, 2]},
    "bools in a tuple": {"numbers": (True,)},
    "lists and dicts as JSON": {"anything": [1, {"a": [2]}]},
    "a bool in a component": {"slots": (Slot.model_construct(number=True, holds=None),)},
    "a list of components": {"slots": [Slot(number=1)]},
}


@pytest.mark.parametrize("changes", LIKE_IT.values(), ids=LIKE_IT)
@pytest.mark.parametrize("more", [{}, {"text": "y"}], ids=["alone", "with another change"])
async def test_an_update_returns_what_a_read_gives_to_the_types_inside(
    changes: dict[str, object], more: dict[str, object]
) -> None:
    client = make_client()
    async with client.store:
        made = await client.create(Odd.new("o"))
        spec = made.spec.model_copy(update={**changes, **more})
        try:
            stored = await client.update(made.with_spec(spec))
        except InvalidInput:
            return
        assert differences(stored, await client.get(Odd, "o")) == []
        again = await client.update(stored.with_metadata(labels={"a": "b"}))
        assert differences(again, await client.get(Odd, "o")) == []
        assert (await check(client.store, client.kinds)).is_clean


@pytest.mark.parametrize("changes", LIKE_IT.values(), ids=LIKE_IT)
async def test_a_create_returns_what_a_read_gives_to_the_types_inside(
    changes: dict[str, object],
) -> None:
    client = make_client()
    async with client.store:
        await client.create(Odd.new("o"))
        new = Odd.new("new")
        try:
            stored = await client.create(new.with_spec(new.spec.model_copy(update=changes)))
        except InvalidInput:
            return
        assert differences(stored, await client.get(Odd, "new")) == []


@pytest.mark.parametrize("changes", [{"color": "red"}, {"env": {"A": "1"}}, {"color": "grey"}])
async def test_so_it_is_where_somebody_wrote_validators(changes: dict[str, object]) -> None:
    client = make_client()
    async with client.store:
        made = await client.create(Checked.new("c"))
        spec = made.spec.model_copy(update={**changes, "other": 1})
        stored = await client.update(made.with_spec(spec))
        assert differences(stored, await client.get(Checked, "c")) == []
        new = Checked.new("new").with_spec(spec)
        assert differences(await client.create(new), await client.get(Checked, "new")) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, True), (False, 0), ([1], [True]), ({"a": 1}, {"a": True}), ({"a": [0]}, {"a": [False]})],
)
@pytest.mark.parametrize("how", ["update", "patch", "apply", "create over JSON Patch"])
async def test_true_is_not_1_in_json(before: object, after: object, how: str) -> None:
    client = make_client()
    async with client.store:
        made = await client.create(Odd.new("o", anything=before))
        match how:
            case "update":
                spec = made.spec.model_copy(update={"anything": after})
                await client.update(made.with_spec(spec))
            case "patch":
                await client.patch(Odd, "o", {"spec": {"anything": None}})
                await client.patch(Odd, "o", {"spec": {"anything": before}})
                await client.patch(Odd, "o", {"spec": {"anything": after}})
            case "apply":
                await client.apply(Odd.partial("o", anything=after), manager="m", force=True)
            case _:
                patch = [{"op": "replace", "path": "/spec/anything", "value": after}]
                await client.patch(Odd, "o", patch)
        found = (await client.get(Odd, "o")).to_document()["spec"]["anything"]
        assert repr(found) == repr(after)


async def test_what_the_caller_changes_afterwards_is_a_change_of_its_next_update() -> None:
    """What a client keeps of a write must not be the caller's own dicts and lists."""
    client = make_client()
    env, labels, finalizers = {"A": "1"}, {"a": "1"}, ["example.dev/a"]
    async with client.store:
        made = await client.create(Odd.new("o"))
        for _ in range(2):
            metadata = made.metadata.model_copy(
                update={"labels": labels, "finalizers": finalizers}
            )
            spec = made.spec.model_copy(update={"env": env})
            changed: Any = replace(made, metadata=metadata)
            made = await client.update(changed.with_spec(spec))
            env["A"], labels["a"] = "2", "2"
            finalizers.clear()
        stored = await client.get(Odd, "o")
        assert (stored.spec.env, stored.metadata.labels) == ({"A": "2"}, {"a": "2"})
        assert stored.metadata.finalizers == ()


METADATA: dict[str, dict[str, object]] = {
    "a number as a label": {"labels": {"a": 1}},
    "a number as a key": {"labels": {1: "a"}},
    "pairs as labels": {"labels": [("a", "b")]},
    "no labels at all": {"labels": None},
    "nothing as an annotation": {"annotations": {"a": None}},
    "a text as finalizers": {"finalizers": "example.dev/a"},
    "a number as a finalizer": {"finalizers": ("example.dev/a", 1)},
    "no finalizers at all": {"finalizers": None},
    "a mapping as an owner": {"owner_references": ({"name": "x"},)},
}


@pytest.mark.parametrize("changes", METADATA.values(), ids=METADATA)
@pytest.mark.parametrize("is_new", [False, True], ids=["update", "create"])
async def test_metadata_of_other_types_is_refused(
    changes: dict[str, object], is_new: bool
) -> None:
    client = make_client()
    async with client.store:
        made = Odd.new("o") if is_new else await client.create(Odd.new("o"))
        with pytest.raises(InvalidInput):
            made.with_metadata(**changes)
        wrong = replace(made, metadata=made.metadata.model_copy(update=changes))
        with pytest.raises(InvalidInput):
            await (client.create(wrong) if is_new else client.update(wrong))


def test_metadata_in_lists_and_dicts_is_frozen() -> None:
    owner = OwnerReference(api_version="example.dev/v1", kind="Odd", name="x", uid="u")
    labels = {"a": "b"}
    made = Odd.new("o").with_metadata(
        labels=labels, finalizers=["example.dev/a"], owner_references=[owner]
    )
    labels["a"] = "c"
    assert made.metadata.labels == {"a": "b"}
    assert hash(made.metadata) is not None
    assert made.metadata.owner_references == (owner,)


def test_a_revision_that_no_store_gave_is_told() -> None:
    with pytest.raises(InvalidInput, match="resourceVersion"):
        _ = Odd.new("o").with_metadata(resource_version="abc").revision


@pytest.mark.parametrize("spec", [[], "", 0, False, "x", 3])
def test_a_spec_that_is_no_mapping_is_no_empty_one(spec: object) -> None:
    with pytest.raises(InvalidInput, match="must be a mapping"):
        Odd.from_document({"metadata": {"name": "o"}, "spec": spec})


@pytest.mark.parametrize("spec", [Slot(number=1), WiderSpec(), {"text": "y"}], ids=repr)
@pytest.mark.parametrize("is_new", [False, True], ids=["update", "create"])
async def test_the_spec_of_another_kind_is_refused(spec: Any, is_new: bool) -> None:
    client = make_client()
    async with client.store:
        made = Odd.new("o") if is_new else await client.create(Odd.new("o"))
        with pytest.raises(TypeError):
            made.with_spec(spec)
        wrong = replace(made, spec=spec)
        with pytest.raises((InvalidInput, TypeError)):
            await (client.create(wrong) if is_new else client.update(wrong))
        assert len((await client.list(Odd)).items) == (0 if is_new else 1)


CONDITION = Condition(type="Ready", status=ConditionStatus.TRUE)
STATUSES: dict[str, dict[str, Any]] = {
    "a condition that is maybe": {
        "conditions": (CONDITION.model_copy(update={"status": "Maybe"}),)
    },
    "a condition of some time": {
        "conditions": (CONDITION.model_copy(update={"last_transition_time": "soon"}),)
    },
    "a mapping as a condition": {"conditions": ({"type": "Ready", "status": "True"},)},
    "a condition by text": {"conditions": (CONDITION.model_copy(update={"status": "True"}),)},
    "a list of conditions": {"conditions": [CONDITION]},
    "a text as the generation": {"observed_generation": "3"},
    "what is no JSON handled": {"handled": {"x": {"a": object()}}},
    "a number handled": {"handled": {"x": 3}},
    "a dict handled": {"handled": {"x": {"a": [1, {}]}}},
    "the spec of another kind": {"status": Slot(number=1)},
    "a list in the status": {"status": OddStatus().model_copy(update={"slots": [Slot(number=1)]})},
}


@pytest.mark.parametrize("changes", STATUSES.values(), ids=STATUSES)
async def test_a_status_is_refused_or_returned_as_it_is_read(changes: dict[str, Any]) -> None:
    client = make_client()
    async with client.store:
        made = await client.create(Odd.new("o"))
        try:
            stored = await client.update_status(replace(made, **changes))
        except (MirenError, TypeError):
            assert await client.get(Odd, "o") == made
        else:
            assert differences(stored, await client.get(Odd, "o")) == []


WRITES: dict[str, Callable[[StoreClient, Any], Any]] = {
    "new": lambda client, value: client.create(Odd.new("new", anything=value)),
    "apply": lambda client, value: client.apply(Odd.partial("o", anything=value), manager="m"),
    "patch": lambda client, value: client.patch(Odd, "o", {"spec": {"anything": value}}),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("value", [2**70, "\ud800", {"a": "\ud800"}], ids=ascii)
async def test_what_json_cannot_say_is_invalid_input(
    write: Callable[[StoreClient, Any], Any], value: object
) -> None:
    client = make_client()
    async with client.store:
        await client.create(Odd.new("o"))
        with pytest.raises(InvalidInput):
            await write(client, value)


@pytest.mark.parametrize("labels", [["a=b"], "abc", 3, {"a": 1}])
async def test_labels_of_another_form_are_refused_when_they_are_applied_over_some(
    labels: object,
) -> None:
    client = make_client()
    async with client.store:
        made = await client.create(Odd.new("o"))
        partial = replace(Odd.partial("o"), document={"metadata": {"name": "o", "labels": labels}})
        with pytest.raises(InvalidInput):
            await client.apply(partial, manager="m")
        assert await client.get(Odd, "o") == made


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"size": "1Gi"}, {"size": "1024Mi"}),
        ({"wait": "1m"}, {"wait": "60s"}),
        ({"size": None}, {"size": None}),
        ({"ratio": 2}, {"ratio": 2.0}),
    ],
)
async def test_two_managers_may_write_one_value_in_two_ways(
    first: dict[str, object], second: dict[str, object]
) -> None:
    client = make_client()
    async with client.store:
        for manager, spec in (("one", first), ("two", second)):
            document = {"metadata": {"name": "o"}, "spec": spec}
            await client.apply(replace(Odd.partial("o"), document=document), manager=manager)
        assert (await client.get(Odd, "o")).metadata.generation == 1
        with pytest.raises(Conflict, match="is managed by 'one'"):
            await client.apply(Odd.partial("o", size="3Gi", wait="3m", ratio=3), manager="three")
