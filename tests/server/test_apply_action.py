"""What an apply says it came to, whatever controllers write at the same moment."""

from __future__ import annotations

from miren.entities.gen import Disk
from miren.entities.gen.storage import DiskPhase
from miren.server.services.entities import _action


def stored(uid: str = "u1", size: str = "1Gi", **labels: str) -> Disk:
    made = Disk.from_document(
        {"metadata": {"name": "d", "labels": labels, "uid": uid}, "spec": {"size": size}}
    )
    return made.with_metadata(project="default", resource_version="1")


def test_a_status_written_meanwhile_is_no_change() -> None:
    ready = stored().with_status(Disk.kind.status.model_validate({"phase": DiskPhase.READY}))
    later = ready.with_metadata(resource_version="2", finalizers=("miren.dev/disk",))
    assert _action(stored(), later) == "unchanged"


def test_specs_and_labels_are_changes() -> None:
    assert _action(stored(), stored(size="2Gi")) == "configured"
    assert _action(stored(), stored(a="b")) == "configured"


def test_what_was_not_there_or_was_another_one_is_created() -> None:
    assert _action(None, stored()) == "created"
    assert _action(stored("u1"), stored("u2")) == "created"
