from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from miren.base.errors import ImageNotFound, InvalidInput
from miren.runtime.images import File, ImageConfig, ImageLibrary, build_image
from tests.runtime.images.archives import layer_bytes, rewrite, write_raw

NAMES = ["hello", "docker.io/library/hello:1.2", "a b%2F", "ünïcode@sha256:0"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    target = tmp_path / "image.tar"
    build_image(target, [{"greeting": File(b"hello " * 200)}], config=ImageConfig(("run",)))
    return target


@pytest.fixture
def library(tmp_path: Path) -> ImageLibrary:
    return ImageLibrary(tmp_path / "images")


def test_images_are_kept_by_name_whatever_is_in_it(library: ImageLibrary, archive: Path) -> None:
    added = [library.add(archive, name) for name in NAMES]
    assert sorted(library.list(), key=str) == sorted(added, key=str)
    for image in added:
        found, path = library.get(image.name)
        assert found == image
        assert path.exists()


def test_a_new_archive_replaces_the_old_one_of_that_name(
    library: ImageLibrary, archive: Path
) -> None:
    first = library.add(archive, "hello")
    build_image(archive, [{"greeting": File(b"bye")}], config=ImageConfig())
    second = library.add(archive, "hello")
    assert second.digest != first.digest
    assert library.list() == [second]


def test_an_unknown_name_is_not_found_with_the_names_that_are_close(
    library: ImageLibrary, archive: Path
) -> None:
    with pytest.raises(ImageNotFound, match="'hello'") as nothing:
        library.get("hello")
    assert nothing.value.hint == "import it from an OCI archive first"
    library.add(archive, "hello:1")
    with pytest.raises(ImageNotFound) as close:
        library.get("helo:1")
    assert close.value.hint == "did you mean 'hello:1'?"


def test_a_removed_image_is_gone_and_removing_it_again_is_fine(
    library: ImageLibrary, archive: Path
) -> None:
    library.add(archive, "hello")
    library.remove("hello")
    library.remove("hello")
    assert library.list() == []


@pytest.mark.parametrize("name", ["", ".", ".hidden", "x" * 300])
def test_a_name_that_cannot_be_a_file_is_refused(
    library: ImageLibrary, archive: Path, name: str
) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name"):
        library.add(archive, name)


def test_a_layout_folder_is_kept_as_the_same_image(
    library: ImageLibrary, archive: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "layout"

    def extract(name: str, content: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    rewrite(archive, tmp_path / "empty.tar", extract)
    assert library.add(folder, "a").digest == library.add(archive, "a").digest


def test_compressed_layers_are_read(library: ImageLibrary, tmp_path: Path) -> None:
    target = tmp_path / "gzip.tar"
    write_raw(target, [gzip.compress(layer_bytes([("a", tarfile.REGTYPE, "x" * 5000)]))])
    library.add(target, "gzip")


def flip(name: str, content: bytes) -> bytes | None:
    return content.replace(b"hello", b"jello") if len(content) > 1000 else content


def cut(name: str, content: bytes) -> bytes | None:
    return content[:700] if len(content) > 1000 else content


def drop(name: str, content: bytes) -> bytes | None:
    return None if len(content) > 1000 else content


@pytest.mark.parametrize(
    ("change", "complaint"), [(flip, "other content"), (cut, "bytes instead of"), (drop, "has no")]
)
def test_a_layer_that_is_not_what_its_digest_says_is_refused_by_name(
    library: ImageLibrary,
    archive: Path,
    tmp_path: Path,
    change: Callable[[str, bytes], bytes | None],
    complaint: str,
) -> None:
    broken = tmp_path / "broken.tar"
    rewrite(archive, broken, change)
    with pytest.raises(InvalidInput, match=complaint) as refusal:
        library.add(broken, "hello")
    with tarfile.open(archive) as tar:
        biggest = max(tar.getmembers(), key=lambda member: member.size)
    assert biggest.name.rpartition("/")[2] in str(refusal.value)
    assert library.list() == []


def test_a_cut_archive_is_refused(library: ImageLibrary, archive: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    end = len(whole.rstrip(b"\0"))  # what follows is padding
    for size in range(0, end, 256):
        cut_off = tmp_path / "cut.tar"
        cut_off.write_bytes(whole[:size])
        with pytest.raises(InvalidInput):
            library.add(cut_off, "hello")
    assert library.list() == []


@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/../evil"])
def test_a_layer_that_reaches_out_of_the_image_is_refused_by_name(
    library: ImageLibrary, tmp_path: Path, path: str
) -> None:
    target = tmp_path / "evil.tar"
    [digest] = write_raw(target, [layer_bytes([(path, tarfile.REGTYPE, "evil")])])
    with pytest.raises(InvalidInput, match=f"{digest} reaches out"):
        library.add(target, "evil")


def test_a_layer_that_is_no_tar_or_another_than_the_configs_is_refused(
    library: ImageLibrary, tmp_path: Path
) -> None:
    target = tmp_path / "odd.tar"
    write_raw(target, [b"no tar at all" * 100])
    with pytest.raises(InvalidInput, match="not a whole tar"):
        library.add(target, "odd")
    write_raw(target, [layer_bytes([])], diff_ids=[f"sha256:{'0' * 64}"])
    with pytest.raises(InvalidInput, match="unpacks to"):
        library.add(target, "odd")
    write_raw(target, [layer_bytes([])], diff_ids=[])
    with pytest.raises(InvalidInput, match="names other layers"):
        library.add(target, "odd")


@pytest.mark.parametrize(
    "config", ["text", [1], {"Cmd": "sh"}, {"Env": [1]}, {"Entrypoint": 5}, {"ExposedPorts": 80}]
)
def test_a_config_of_the_wrong_shape_is_refused(
    library: ImageLibrary, tmp_path: Path, config: object
) -> None:
    target = tmp_path / "odd.tar"
    write_raw(target, [layer_bytes([])], config=config)
    with pytest.raises(InvalidInput, match=r"config sha256:.* is malformed"):
        library.add(target, "odd")


def test_what_is_no_archive_is_refused_with_what_to_do(
    library: ImageLibrary, tmp_path: Path
) -> None:
    for path in (tmp_path / "missing.tar", tmp_path / "text.tar"):
        with pytest.raises(InvalidInput) as refusal:
            library.add(path, "hello")
        assert refusal.value.hint is not None
        assert "skopeo" in refusal.value.hint
        (tmp_path / "text.tar").write_text("not a tar, but long enough to look at" * 100)


def test_a_sweep_removes_what_an_interrupted_add_left(
    library: ImageLibrary, archive: Path, tmp_path: Path
) -> None:
    image = library.add(archive, "hello")
    (tmp_path / "images" / ".partial-x").mkdir()
    library.sweep()
    assert library.list() == [image]
    assert len(list((tmp_path / "images").iterdir())) == 1
