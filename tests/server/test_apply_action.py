"""What an apply says it came to, whatever controllers write at the same moment."""

from __future__ import annotations

from miren.entities.gen import Disk
from miren.entities.gen.storage import DiskPhase
from miren.server.services.outcomes import action_of


def stored(uid: str = "u1", generation: int = 1, **labels: str) -> Disk:
    made = Disk.from_document({"metadata": {"name": "d", "labels": labels, "uid": uid}})
    return made.with_metadata(project="default", resource_version="1", generation=generation)


def test_a_status_written_meanwhile_is_no_change() -> None:
    ready = stored().with_status(Disk.kind.status.model_validate({"phase": DiskPhase.READY}))
    later = ready.with_metadata(resource_version="2", finalizers=("miren.dev/disk",))
    assert action_of(stored(), later) == "unchanged"
    assert action_of(stored(), later, finalizers=True) == "configured"


def test_specs_and_labels_are_changes() -> None:
    assert action_of(stored(), stored(generation=2)) == "configured"
    assert action_of(stored(), stored(a="b")) == "configured"


def test_what_was_not_there_or_was_another_one_is_created() -> None:
    assert action_of(None, stored()) == "created"
    assert action_of(stored("u1"), stored("u2")) == "created"
