"""Damage planted through the raw store: each kind is found by name and repaired, nothing else."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
import pytest

from miren.entities import keys
from miren.entities.checking import check
from miren.entities.entity import Entity
from miren.entities.findings import Fault, Report
from miren.entities.kinds import Kinds
from miren.entities.model import Map, Model, field
from miren.entities.records import Sidecar
from miren.entities.repairing import repair
from miren.entities.store.api import Delete, KeyRange, Put, Store
from miren.entities.store_client import StoreClient
from tests.builders import Parcel, Port, Room, Stamp, Wrapping, make_kinds, make_parcel, owned_by
from tests.stores import Racing

pytestmark = pytest.mark.damages

BOX = "/e/example.dev/Parcel/default/box"
BESIDE_BOX = "/x/example.dev/Parcel/default/box"
IN_HALL = "/i/example.dev/Parcel/spec.rooms/hall/default/box"
CODE = "/u/example.dev/Parcel/spec.code/default/c1"
TO_HALL = "/r/example.dev/Room/default/hall/none/example.dev/Parcel/spec.rooms/default/box"
LATER_BOX = "/u/example.dev/Parcel/spec.code/default/c2"


@pytest.fixture
async def store(store: Store) -> Store:
    await populate(StoreClient(store=store, kinds=make_kinds()))
    return store


async def populate(client: StoreClient) -> None:
    room = await client.create(Room.new("hall"))
    for name, code in (("box", "c1"), ("crate", "c2")):
        parcel = make_parcel(name, code=code, rooms=("hall",))
        await client.create(owned_by(parcel, room))
    await client.create(Stamp.new("first"))


async def contents(store: Store) -> dict[str, bytes]:
    page = await store.list(KeyRange.prefix("/"))
    return {item.key: item.value for item in page.items}


async def put(store: Store, key: str, value: bytes | str) -> None:
    await store.transact((), [Put(key, value if isinstance(value, bytes) else value.encode())])


async def remove(store: Store, key: str) -> None:
    assert (await store.transact((), [Delete(KeyRange.key(key))])).reads[0], key


async def uid_of(store: Store, key: str) -> str:
    found = await store.get(key)
    assert found is not None
    return str(orjson.loads(found.value)["metadata"]["uid"])


async def relisted(store: Store, *, more: str = "", less: str = "") -> None:
    found = await store.get(BESIDE_BOX)
    assert found is not None
    sidecar = Sidecar.decode(found)
    derived = (sidecar.derived | {more}) - {less, ""}
    await put(store, BESIDE_BOX, replace(sidecar, derived=derived).encode())


def faults(report: Report) -> set[tuple[Fault, str]]:
    return {(each.fault, each.key) for each in report.problems}


async def test_a_store_that_only_clients_wrote_to_is_clean(store: Store) -> None:
    report = await check(store, make_kinds())
    assert report.is_clean
    assert (report.entities, report.unknown, report.findings) == (4, {}, ())
    assert report.keys == sum(not key.startswith(("/e/", "/x/")) for key in await contents(store))


Damage = Callable[[Store], Awaitable[None]]
STRAY_OF_NOBODY = "/i/example.dev/Parcel/spec.rooms/hall/default/gone"
STRAY_VALUE = "/i/example.dev/Parcel/spec.rooms/attic/default/box"
STRAY_CODE = "/u/example.dev/Parcel/spec.code/default/c9"
STRAY_OWNER = "/o/nobody/example.dev/Parcel/default/box"
STRAY_REF = TO_HALL.replace("/none/", "/restrict/")
SESSION = "/s/example.dev/Parcel/default/box/place"

DAMAGES: dict[str, tuple[Damage, set[tuple[Fault, str]]]] = {
    "an index key is gone": (lambda s: remove(s, IN_HALL), {(Fault.MISSING, IN_HALL)}),
    "a unique key is gone": (lambda s: remove(s, CODE), {(Fault.MISSING, CODE)}),
    "a reference key is gone": (lambda s: remove(s, TO_HALL), {(Fault.MISSING, TO_HALL)}),
    "an index key holds another uid": (
        lambda s: put(s, IN_HALL, "another"),
        {(Fault.WRONG_UID, IN_HALL)},
    ),
    "a unique key holds another uid": (
        lambda s: put(s, CODE, "another"),
        {(Fault.WRONG_UID, CODE)},
    ),
    "an index key of nobody": (
        lambda s: put(s, STRAY_OF_NOBODY, "gone"),
        {(Fault.STRAY, STRAY_OF_NOBODY)},
    ),
    "an index key of a value that it has not": (
        lambda s: put(s, STRAY_VALUE, "x"),
        {(Fault.STRAY, STRAY_VALUE)},
    ),
    "a unique key of nobody": (
        lambda s: put(s, STRAY_CODE, "nobody"),
        {(Fault.STRAY, STRAY_CODE)},
    ),
    "a dependent key of no owner": (
        lambda s: put(s, STRAY_OWNER, "x"),
        {(Fault.STRAY, STRAY_OWNER)},
    ),
    "a reference key with another rule": (
        lambda s: put(s, STRAY_REF, "x"),
        {(Fault.STRAY, STRAY_REF)},
    ),
    "a sidecar lists what is not there": (
        lambda s: relisted(s, more=STRAY_VALUE),
        {(Fault.SIDECAR_DIFFERS, BESIDE_BOX)},
    ),
    "a sidecar does not list what is there": (
        lambda s: relisted(s, less=CODE),
        {(Fault.SIDECAR_DIFFERS, BESIDE_BOX)},
    ),
    "a sidecar of nobody": (
        lambda s: put(s, BESIDE_BOX.replace("box", "gone"), Sidecar().encode()),
        {(Fault.STRAY_SIDECAR, BESIDE_BOX.replace("box", "gone"))},
    ),
    "a session attribute without a lease": (
        lambda s: put(s, SESSION, "{}"),
        {(Fault.STRAY, SESSION)},
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_found_by_name_and_repaired_and_nothing_else_changes(
    store: Store, damage: str
) -> None:
    before = await contents(store)
    plant, expected = DAMAGES[damage]
    await plant(store)
    report = await check(store, make_kinds())
    assert faults(report) == expected
    repairs = await repair(store, make_kinds(), report)
    assert repairs.left == ()
    assert len(repairs.done) == 1
    assert await contents(store) == before
    assert (await check(store, make_kinds())).is_clean
    assert (await repair(store, make_kinds(), report)).done == ()


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        (lambda s: remove(s, BESIDE_BOX), Fault.NO_SIDECAR),
        (lambda s: put(s, BESIDE_BOX, "{"), Fault.BROKEN_SIDECAR),
        (lambda s: put(s, BESIDE_BOX, "[]"), Fault.BROKEN_SIDECAR),
    ],
)
async def test_a_lost_sidecar_is_written_anew_and_nobody_manages_the_fields(
    store: Store, plant: Damage, fault: Fault
) -> None:
    before = await contents(store)
    await plant(store)
    report = await check(store, make_kinds())
    assert faults(report) == {(fault, BESIDE_BOX)}
    await repair(store, make_kinds(), report)
    assert (await check(store, make_kinds())).is_clean
    after = await contents(store)
    assert {**after, BESIDE_BOX: before[BESIDE_BOX]} == before
    assert Sidecar.decode(await store.get(BESIDE_BOX)).version == "v1"


async def test_all_damage_at_once_is_repaired(store: Store) -> None:
    before = await contents(store)
    for damage in ("a unique key is gone", "an index key holds another uid"):
        await DAMAGES[damage][0](store)
    for damage in ("an index key of nobody", "a unique key of nobody", "a sidecar of nobody"):
        await DAMAGES[damage][0](store)
    report = await check(store, make_kinds())
    assert len(report.problems) == 5
    await repair(store, make_kinds(), report)
    assert await contents(store) == before


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{", "unexpected end|EOF"),
        ("[]", "indices"),
        ('{"metadata":{}}', "apiVersion"),
        ('{"apiVersion":"example.dev/v9","metadata":{}}', "v9"),
    ],
)
async def test_an_entity_that_cannot_be_read_is_named_and_left_alone(
    store: Store, value: str, told: str
) -> None:
    await put(store, BOX, value)
    before = await contents(store)
    report = await check(store, make_kinds())
    assert faults(report) == {(Fault.UNREADABLE, BOX)}
    assert re.search(told, str(report.problems[0]))
    assert str(report.problems[0]).startswith(f"unreadable: {BOX}")
    repairs = await repair(store, make_kinds(), report)
    assert repairs.left == report.problems
    assert await contents(store) == before


async def test_an_entity_whose_attribute_is_wrong_is_told_with_the_attribute(store: Store) -> None:
    found = await store.get(BOX)
    assert found is not None
    document = orjson.loads(found.value)
    document["spec"]["weight"] = "heavy"
    await put(store, BOX, orjson.dumps(document))
    report = await check(store, make_kinds())
    assert [each.told for each in report.problems if each.key == BOX] == [
        "weight: Input should be a valid integer, unable to parse string as an integer"
    ]


async def test_an_entity_under_anothers_key_is_misplaced(store: Store) -> None:
    found = await store.get(BOX)
    assert found is not None
    await put(store, BOX + "2", found.value)
    report = await check(store, make_kinds())
    assert (Fault.MISPLACED, BOX + "2") in faults(report)
    assert not Fault.MISPLACED.is_repairable


async def test_a_unique_value_of_two_is_told_and_not_repaired(store: Store) -> None:
    found = await store.get(BOX)
    assert found is not None
    document = orjson.loads(found.value)
    document["spec"]["code"] = "c2"
    await put(store, BOX, orjson.dumps(document))
    report = await check(store, make_kinds())
    duplicates = [each for each in report.problems if each.fault is Fault.DUPLICATE]
    assert [(each.key, each.told) for each in duplicates] == [
        (LATER_BOX, "parcel/box and parcel/crate both have it")
    ]
    holder = await store.get(LATER_BOX)
    await repair(store, make_kinds(), report)
    again = await check(store, make_kinds())
    assert {each.fault for each in again.problems} == {Fault.DUPLICATE}
    assert await store.get(LATER_BOX) == holder


async def test_what_refers_to_nothing_and_owners_that_are_gone_are_warnings(store: Store) -> None:
    client = StoreClient(store=store, kinds=make_kinds())
    await client.delete(Room, "hall")
    report = await check(store, make_kinds())
    assert report.is_clean
    assert {(each.fault, each.entity) for each in report.findings} == {
        (fault, BOX.replace("box", name))
        for fault in (Fault.DANGLING_REFERENCE, Fault.DANGLING_OWNER)
        for name in ("box", "crate")
    }
    assert (await repair(store, make_kinds(), report)).done == ()


async def test_kinds_that_are_not_known_are_counted_and_left_alone(store: Store) -> None:
    report = await check(store, Kinds([Room]))
    assert report.is_clean
    assert (report.entities, report.unknown) == (
        1,
        {"Parcel.example.dev": 2, "Stamp.example.dev": 1},
    )


class ParcelLaterSpec(Model):
    weight: int = 1
    code: str | None = None
    sender: str | None = None
    rooms: tuple[str, ...] = ()
    wrapping: Wrapping | None = None
    env: Map[str] = field(default={})
    ports: tuple[Port, ...] = ()


class ParcelLaterStatus(Model):
    place: str = ""


class ParcelLater(Entity[ParcelLaterSpec, ParcelLaterStatus], api="example.dev/v1", name="Parcel"):
    """The same kind when nothing in it is indexed any more."""


async def test_after_a_change_of_the_schema_repairing_brings_keys_in_line(store: Store) -> None:
    later = Kinds([Room, Stamp, ParcelLater])
    report = await check(store, later)
    assert {each.fault for each in report.problems} == {Fault.STRAY, Fault.SIDECAR_DIFFERS}
    await repair(store, later, report)
    assert (await check(store, later)).is_clean
    back = await check(store, make_kinds())
    assert {each.fault for each in back.problems} == {Fault.MISSING, Fault.SIDECAR_DIFFERS}
    await repair(store, make_kinds(), back)
    assert (await check(store, make_kinds())).is_clean


async def test_repairing_beside_a_writer_undoes_nothing(store: Store) -> None:
    await remove(store, CODE)
    report = await check(store, make_kinds())
    client = StoreClient(store=store, kinds=make_kinds())
    await client.delete(Parcel, "box")
    await client.create(make_parcel("box", code="c3"))
    before = await contents(store)
    assert (await repair(store, make_kinds(), report)).done == ()
    assert await contents(store) == before


async def test_who_writes_between_reading_and_repairing_is_not_overwritten(store: Store) -> None:
    await put(store, CODE, "another")
    report = await check(store, make_kinds())
    racing = Racing(store)

    async def somebody_else() -> None:
        client = StoreClient(store=store, kinds=make_kinds())
        await client.patch(Parcel, "box", {"spec": {"code": "c3"}})
        await client.create(make_parcel("quick", code="c1"))

    racing.before_write = somebody_else
    await repair(racing, make_kinds(), report)
    assert (await check(store, make_kinds())).is_clean
    holder = await store.get(CODE)
    assert holder is not None
    assert holder.value.decode() == await uid_of(store, BOX.replace("box", "quick"))


async def test_a_check_reads_page_by_page_at_one_revision(store: Store) -> None:
    client = StoreClient(store=store, kinds=make_kinds())
    for number in range(450):
        await client.create(make_parcel(f"p{number}", rooms=("hall",)))
    report = await check(store, make_kinds())
    assert report.is_clean
    assert report.entities == 454
    assert report.revision == await client.revision()
    await put(store, keys.entity_key(Parcel.kind, "default", "p300"), "{")
    assert {each.key for each in (await check(store, make_kinds())).problems} == {
        "/e/example.dev/Parcel/default/p300"
    }
