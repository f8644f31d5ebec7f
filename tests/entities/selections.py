"""Selections of things, each beside the plain predicate that says what it selects.

However things were written, each selection must be what filtering gives: whole, page by page,
and as a watch from the beginning leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from miren.entities.client import Selection, Target
from miren.entities.store_client import StoreClient
from tests.entities.replaying import replayed
from tests.entities.things import Holder, Thing, key_of

__all__ = ["check_selections"]

Says = Callable[[Thing], bool]
SELECTIONS: tuple[tuple[Selection, Says], ...] = (
    (Selection(), lambda each: True),
    (Selection(project="blue"), lambda each: each.project == "blue"),
    (Selection(labels={"app": "x"}), lambda each: label(each, "app") == "x"),
    (
        Selection(project="default", labels="app in (x,y),tier!=y"),
        lambda each: (
            each.project == "default"
            and label(each, "app") in ("x", "y")
            and label(each, "tier") != "y"
        ),
    ),
    (Selection(labels="!app"), lambda each: label(each, "app") is None),
    (Selection(labels="tier notin (x)"), lambda each: label(each, "tier") != "x"),
    (Selection(fields={"spec.weight": "2"}), lambda each: each.spec.weight == 2),
    (
        Selection(project="blue", fields={"spec.weight": "1", "status.place": "here"}),
        lambda each: (each.project, each.spec.weight, each.status.place) == ("blue", 1, "here"),
    ),
    (
        Selection(fields={"spec.loose": "a"}, labels="app"),
        lambda each: each.spec.loose == "a" and label(each, "app") is not None,
    ),
    (
        Selection(refers_to=Target(Holder, "a", "blue")),
        lambda each: each.project == "blue" and refers(each, "a"),
    ),
    (
        Selection(refers_to=Target(Holder, "a"), labels="app"),
        lambda each: (
            each.project == "default" and refers(each, "a") and label(each, "app") is not None
        ),
    ),
)


def label(entity: Thing, key: str) -> str | None:
    return entity.metadata.labels.get(key)


def refers(entity: Thing, name: str) -> bool:
    return name in (entity.spec.restrict, entity.spec.unset, entity.spec.loose)


async def check_selections(
    client: StoreClient, everything: Sequence[Thing], *, after: int
) -> None:
    """Check every selection of `everything` there is; at the revision `after` nothing was."""
    for selection, is_selected in SELECTIONS:
        wanted = [each for each in everything if is_selected(each)]
        whole = list((await client.list(Thing, selection)).items)
        if selection.refers_to is None:
            assert whole == wanted
        else:  # these come by attribute
            assert sorted(whole, key=key_of) == wanted
        for limit in (1, 2, 3):
            assert await paged(client, selection, limit) == whole
        left = await replayed(client, selection, after=after)
        assert left == {key_of(each): each for each in wanted}


async def paged(client: StoreClient, selection: Selection, limit: int) -> list[Thing]:
    found: list[Thing] = []
    token = ""
    while True:
        page = await client.list(Thing, selection, limit=limit, token=token)
        assert len(page.items) == limit or not page.token
        found += page.items
        token = page.token
        if not token:
            return found
