from __future__ import annotations

import random
import re
import subprocess
import sys

from miren.base.ids import new_instance_id, new_uid


def test_uids_are_safe_in_names_and_differ() -> None:
    uids = [new_uid() for _ in range(1000)]
    assert len(set(uids)) == 1000
    assert all(re.fullmatch(r"[a-z2-7]{20}", uid) for uid in uids)
    # Every place takes every value: nothing is padding.
    assert all(len({uid[place] for uid in uids}) == 32 for place in range(20))


def test_the_same_seed_gives_the_same_uids() -> None:
    assert new_uid(random.Random(7)) == new_uid(random.Random(7))


def test_instance_ids_are_six_characters() -> None:
    assert re.fullmatch(r"[a-z2-7]{6}", new_instance_id())


def test_a_child_process_has_uids_of_its_own() -> None:
    # Its parent has drawn ahead for many, and none of these may be the child's too.
    script = """
import os
from miren.base.ids import new_uid
new_uid()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, " ".join(new_uid() for _ in range(100)).encode())
    os._exit(0)
os.wait()
theirs = os.read(read, 65536).decode().split()
assert len(theirs) == 100
assert not {new_uid() for _ in range(100)} & set(theirs)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
