from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.runtime.images import (
    Entry,
    File,
    Folder,
    ImageConfig,
    ImageLibrary,
    Symlink,
    build_image,
    open_layout,
    read_config,
    read_manifest,
)

CONFIG = ImageConfig(
    command=("sh", "-c", "exit 0"),
    env={"B": "2", "A": "1=1"},
    working_dir="/srv",
    user="nobody",
    ports=(80, 8080),
)
LAYER: dict[str, Entry] = {
    "bin/tool": File(b"#!/bin/sh\n", 0o755),
    "bin/link": Symlink("tool"),
    "srv": Folder(0o700),
    "/etc/name": File(b"x"),
}


def test_equal_input_in_any_order_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.tar", tmp_path / "b.tar"
    backwards = dict(reversed(LAYER.items()))
    digest = build_image(first, [LAYER], config=CONFIG, name="hello")
    assert build_image(second, [backwards], config=CONFIG, name="hello") == digest
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar"]


def test_a_host_files_time_owner_and_mode_do_not_get_in(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    source.chmod(0o600)
    layer = {**LAYER, "etc/name": File(source)}
    del layer["/etc/name"]
    digest = build_image(tmp_path / "a.tar", [layer], config=CONFIG)
    assert digest == build_image(tmp_path / "b.tar", [LAYER], config=CONFIG)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_another_content_is_another_digest(
    tmp_path_factory: pytest.TempPathFactory, one: bytes, two: bytes
) -> None:
    folder = tmp_path_factory.mktemp("images")
    digests = [
        build_image(folder / "image.tar", [{"file": File(content)}], config=ImageConfig())
        for content in (one, two)
    ]
    assert (digests[0] == digests[1]) == (one == two)


def test_what_was_built_reads_back(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    digest = build_image(target, [LAYER, {"etc/more": File(b"y")}], config=CONFIG, name="a/b:1")
    with open_layout(target) as layout:
        manifest = read_manifest(layout)
        assert manifest.descriptor.digest == digest
        assert read_config(layout, manifest) == CONFIG
        assert len(manifest.layers) == 2
    with tarfile.open(target) as tar:
        index = json.loads((tar.extractfile("index.json") or pytest.fail("no index")).read())
        assert index["manifests"][0]["annotations"] == {
            "org.opencontainers.image.ref.name": "a/b:1"
        }
        for name in tar.getnames():
            if name.startswith("blobs/"):
                stream = tar.extractfile(name)
                assert stream is not None
                assert hashlib.sha256(stream.read()).hexdigest() == name.rpartition("/")[2]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "", "/", "."])
def test_a_path_outside_the_image_is_refused_and_nothing_is_written(
    tmp_path: Path, path: str
) -> None:
    with pytest.raises(InvalidInput, match="no path inside an image"):
        build_image(tmp_path / "image.tar", [{path: File(b"")}], config=CONFIG)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.host
def test_skopeo_accepts_it(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    digest = build_image(target, [LAYER], config=CONFIG, name="hello")
    command = ["skopeo", "inspect", f"oci-archive:{target}"]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert seen["Digest"] == digest
    assert seen["Env"] == ["A=1=1", "B=2"]

    # Its copy has compressed layers, so other digests, and is an image like ours again.
    copy = tmp_path / "copy"
    command = ["skopeo", "copy", "-q", f"oci-archive:{target}", f"oci:{copy}:latest"]
    subprocess.run(command, check=True, capture_output=True)
    ImageLibrary(tmp_path / "images").add(copy, "copy")
    with open_layout(copy) as layout:
        assert read_config(layout, read_manifest(layout)) == CONFIG
