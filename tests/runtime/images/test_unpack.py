from __future__ import annotations

import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miren.base.errors import InvalidInput
from miren.runtime.images import open_layout, read_manifest, resolve_inside, unpack_image
from tests.runtime.images.archives import Member, layer_bytes, write_raw

FILE, DIR, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def unpack(folder: Path, layers: Sequence[Sequence[Member]]) -> Path:
    archive, root = folder / "image.tar", folder / "root"
    write_raw(archive, [layer_bytes(layer) for layer in layers])
    root.mkdir()
    with open_layout(archive) as layout:
        unpack_image(layout, read_manifest(layout), root)
    return root


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_a_whiteout_removes_what_a_lower_layer_had(tmp_path: Path) -> None:
    lower = [("a/x", FILE, "1"), ("a/y", FILE, "1"), ("gone/z", FILE, "1")]
    upper = [("a/.wh.x", FILE, ""), (".wh.gone", FILE, ""), ("a/new", FILE, "2")]
    assert files(unpack(tmp_path, [lower, upper])) == {"a/y": "1", "a/new": "2"}


def test_an_opaque_folder_hides_the_lower_layers_wherever_the_marker_stands(
    tmp_path: Path,
) -> None:
    lower = [("a/x", FILE, "1"), ("a/b/y", FILE, "1")]
    upper = [("a/b/new", FILE, "2"), ("a/.wh..wh..opq", FILE, ""), ("a/last", FILE, "2")]
    assert files(unpack(tmp_path, [lower, upper])) == {"a/b/new": "2", "a/last": "2"}


def test_a_file_replaces_a_folder_and_a_folder_a_file(tmp_path: Path) -> None:
    lower = [("a/x", FILE, "1"), ("b", FILE, "1")]
    upper = [("a", FILE, "2"), ("b/", DIR, ""), ("b/y", FILE, "2")]
    assert files(unpack(tmp_path, [lower, upper])) == {"a": "2", "b/y": "2"}


def test_a_symlinked_folder_is_followed_inside_the_image(tmp_path: Path) -> None:
    lower = [("usr/bin/", DIR, ""), ("opt/bin", LINK, "/usr/bin"), ("opt/up", LINK, "../usr")]
    upper = [("opt/bin/one", FILE, "1"), ("opt/up/bin/two", FILE, "2")]
    root = unpack(tmp_path, [lower, upper])
    assert files(root) == {"usr/bin/one": "1", "usr/bin/two": "2"}
    assert (root / "opt" / "bin").is_symlink()


def test_no_symlink_leads_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    links: list[Member] = [
        ("absolute", LINK, str(outside)),
        ("climbing", LINK, "../outside"),
        ("file", LINK, f"{outside}/kept"),
    ]
    attack: list[Member] = [
        ("absolute/evil", FILE, "evil"),
        ("climbing/evil", FILE, "evil"),
        ("climbing/.wh.kept", FILE, ""),
        ("absolute/.wh..wh..opq", FILE, ""),
        ("file", FILE, "replaced"),
    ]
    root = unpack(tmp_path, [links, attack])
    assert files(outside) == {"kept": "kept"}
    assert (root / "file").read_text() == "replaced"


def test_a_hard_link_shares_content_and_never_one_from_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = unpack(tmp_path, [[("a", FILE, "1"), ("b", HARD, "a")]])
    assert (root / "a").samefile(root / "b")

    for number, target in enumerate(("up/secret", "../secret", "nothing")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(InvalidInput, match="sha256:"):
            unpack(folder, [[("up", LINK, str(tmp_path)), ("b", HARD, target)]])


def test_modes_are_kept_but_those_that_lend_rights(tmp_path: Path) -> None:
    archive, root = tmp_path / "image.tar", tmp_path / "root"
    members = bytearray(layer_bytes([("tool", FILE, "x")]))
    info = tarfile.TarInfo("tool")
    info.mode, info.size = 0o6755, 1
    members[:512] = info.tobuf(tarfile.GNU_FORMAT)[:512]
    write_raw(archive, [bytes(members)])
    root.mkdir()
    with open_layout(archive) as layout:
        unpack_image(layout, read_manifest(layout), root)
    assert (root / "tool").stat().st_mode & 0o7777 == 0o755


def test_device_nodes_are_left_out(tmp_path: Path) -> None:
    root = unpack(tmp_path, [[("null", tarfile.CHRTYPE, ""), ("disk", tarfile.BLKTYPE, "")]])
    assert list(root.iterdir()) == []


def test_a_loop_of_symlinks_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InvalidInput, match="too many symbolic links"):
        resolve_inside(tmp_path, "a/x")


def _whiteout(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/.wh.{name}".lstrip("/")


names = st.sampled_from("abc")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
plain_layers = st.lists(
    st.lists(
        st.one_of(
            st.tuples(paths, st.just(FILE), st.sampled_from(["1", "2"])),
            st.tuples(paths, st.just(DIR), st.just("")),
            st.tuples(paths.map(_whiteout), st.just(FILE), st.just("")),
        ),
        max_size=4,
    ),
    max_size=4,
)


def model(layers: Sequence[Sequence[Member]]) -> dict[str, str] | None:
    """Return what the files should be; None where a file would have to be a folder."""
    tree: dict[str, str | None] = {}  # None is a folder
    for layer in layers:
        for path, kind, text in layer:
            folder, _, name = path.rpartition("/")
            steps = folder.split("/") if folder else []
            for depth in range(len(steps)):
                parent = "/".join(steps[: depth + 1])
                if tree.setdefault(parent, None) is not None:
                    return None
            target = path.replace(".wh.", "")
            hides = name.startswith(".wh.")
            if hides or kind == FILE or tree.get(path) is not None:
                for known in [k for k in tree if k == target or k.startswith(f"{target}/")]:
                    del tree[known]
            if not hides:
                tree[path] = text if kind == FILE else None
    return {path: text for path, text in tree.items() if text is not None}


@given(plain_layers)
def test_layers_add_up_as_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[Member]]
) -> None:
    folder = tmp_path_factory.mktemp("layers")
    expected = model(layers)
    if expected is None:
        with pytest.raises(InvalidInput, match="a file"):
            unpack(folder, layers)
    else:
        assert files(unpack(folder, layers)) == expected


targets = st.lists(st.sampled_from(["a", "b", "..", ".", "outside"]), max_size=4).map("/".join)
wild_members = st.one_of(
    st.tuples(paths, st.just(FILE), st.just("evil")),
    st.tuples(paths.map(_whiteout), st.just(FILE), st.just("")),
    st.tuples(paths, st.just(LINK), targets.map(lambda text: text or ".")),
    st.tuples(paths, st.just(LINK), targets.map(lambda text: f"/{text}")),
    st.tuples(paths, st.just(HARD), paths),
)


@given(st.lists(st.lists(wild_members, max_size=6), max_size=3))
def test_nothing_outside_the_root_is_ever_touched(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[Member]]
) -> None:
    folder = tmp_path_factory.mktemp("wild")
    outside = folder / "outside" / "a"
    outside.mkdir(parents=True)
    (outside / "b").write_text("kept")
    with suppress(InvalidInput):  # refusing is fine, too
        unpack(folder, layers)
    assert {path.name for path in folder.iterdir()} == {"outside", "root", "image.tar"}
    assert files(folder / "outside") == {"a/b": "kept"}
    assert (outside / "b").stat().st_nlink == 1
