"""What is wrong with a schema is said in the author's words, where it stands, all at once."""

from __future__ import annotations

import pytest

from miren.base.errors import InvalidInput
from miren.schemagen.loader import load

HEAD = "domain: example.dev\nversion: v1\n"


def problems_of(*texts: str) -> list[tuple[str, int, int, str, str]]:
    with pytest.raises(InvalidInput) as caught:
        load([(f"s{number}.yml", text) for number, text in enumerate(texts)])
    return [
        (p.position.file, p.position.line, p.position.column, p.message, p.hint or "")
        for p in caught.value.problems
        if p.position is not None
    ]


# The sign ^ stands before the place where the problem must be shown.
WRONG = {
    "unknown top-level key": ("^knds: {}", "unknown key 'knds'", "'kinds'"),
    "unknown key": ("kinds: {a: {b: {type: int, ^requird: true}}}", "unknown key", "'required'"),
    "missing type": ("kinds: {a: {^b: {doc: x}}}", "type is missing", ""),
    "unknown type": ("kinds: {a: {b: {type: ^strng}}}", "unknown type 'strng'", "'string'"),
    "wrong type of key": ("kinds: {a: {b: {type: int, many: ^1}}}", "1 is not of type", ""),
    "bad name": ("kinds: {a: {^'b c': {type: int}}}", "is no name", ""),
    "keyword": ("kinds: {a: {^class: {type: int}}}", "keyword of Python", ""),
    "model's own name": ("kinds: {a: {^copy: {type: int}}}", "every model has", ""),
    "generator's own name": ("kinds: {a: {^field: {type: int}}}", "generated code uses", ""),
    "one name twice": ("kinds: {a: {b_c: {type: int}, ^bC: {type: int}}}", "one name", ""),
    "duplicate key": ("kinds: {a: {b: {type: int}, ^b: {type: int}}}", "duplicate key", ""),
    "enum without choices": ("kinds: {a: {^b: {type: enum}}}", "needs choices", ""),
    "choices of no enum": ("kinds: {a: {b: {type: int, ^choices: [x]}}}", "for enums", ""),
    "choices alike": ("kinds: {a: {b: {type: enum, choices: [a-b, ^a_b]}}}", "one name", ""),
    "default no choice": (
        "kinds: {a: {b: {type: enum, choices: [on, off], default: ^of}}}",
        "'of' is none of on, off",
        "'off'",
    ),
    "default of another type": (
        "kinds: {a: {b: {type: int, default: ^x}}}",
        "no whole number",
        "",
    ),
    "default no quantity": ("kinds: {a: {b: {type: quantity, default: ^1gb}}}", "quantity", ""),
    "default no duration": ("kinds: {a: {b: {type: duration, default: ^5}}}", "no text", ""),
    "default no time": ("kinds: {a: {b: {type: time, default: ^x}}}", "isoformat", ""),
    "default without zone": (
        "kinds: {a: {b: {type: time, default: ^2024-01-01T00:00:00}}}",
        "time zone",
        "",
    ),
    "default no base64": ("kinds: {a: {b: {type: bytes, default: ^'x'}}}", "no base64", ""),
    "default below min": ("kinds: {a: {b: {type: int, min: 2, default: ^1}}}", "below min", ""),
    "default above max": (
        "kinds: {a: {b: {type: quantity, max: 1Gi, default: ^2Gi}}}",
        "above max 1Gi",
        "",
    ),
    "default against pattern": (
        "kinds: {a: {b: {type: string, pattern: 'a+', default: ^b}}}",
        "does not match a+",
        "",
    ),
    "default of a list": (
        "kinds: {a: {b: {type: int, many: true, default: ^1}}}",
        "is a list",
        "",
    ),
    "default and required": (
        "kinds: {a: {b: {type: int, required: true, ^default: 1}}}",
        "needs no default",
        "",
    ),
    "max below min": ("kinds: {a: {b: {type: int, min: 2, max: ^1}}}", "below min", ""),
    "min of a text": ("kinds: {a: {b: {type: string, ^min: 2}}}", "for numbers", ""),
    "pattern of a number": ("kinds: {a: {b: {type: int, ^pattern: x}}}", "for texts", ""),
    "broken pattern": ("kinds: {a: {b: {type: string, pattern: ^'('}}}", "regular expression", ""),
    "look-ahead": ("kinds: {a: {b: {type: string, pattern: ^'(?=x)'}}}", "regular expression", ""),
    "length of a number": (
        "kinds: {a: {b: {type: int, ^min_length: 1}}}",
        "min_length is for",
        "",
    ),
    "map without of": ("kinds: {a: {^b: {type: map}}}", "needs of", ""),
    "of without map": ("kinds: {a: {b: {type: int, ^of: string}}}", "of is for maps", ""),
    "many maps": ("kinds: {a: {b: {type: map, of: int, ^many: true}}}", "never many", ""),
    "map of maps": (
        "kinds: {a: {b: {type: map, of: ^{type: map, of: int}}}}",
        "map of lists or maps",
        "",
    ),
    "to of no ref": ("kinds: {a: {b: {type: int, ^to: a}}}", "to is for refs", ""),
    "to an unknown kind": (
        "kinds: {app: {b: {type: ref, to: ^ap}}}",
        "unknown kind 'ap'",
        "'App'",
    ),
    "owner of no ref": ("kinds: {a: {b: {type: int, ^owner: true}}}", "a single ref", ""),
    "merge_key of scalars": (
        "kinds: {a: {b: {type: int, many: true, ^merge_key: x}}}",
        "many components",
        "",
    ),
    "merge_key unknown": (
        "kinds: {a: {b: {type: component, many: true, merge_key: ^nam,"
        " attrs: {name: {type: int}}}}}",
        "no attribute 'nam'",
        "'name'",
    ),
    "merge_key unknown in a later component": (
        "components: {a: {b: {type: c, many: true, merge_key: ^x}}, c: {d: {type: int}}}",
        "no attribute 'x'",
        "",
    ),
    "default false and required": (
        "kinds: {a: {b: {type: bool, required: true, ^default: false}}}",
        "needs no default",
        "",
    ),
    "shorthand unknown": (
        "kinds: {a: {b: {type: component, shorthand: ^nam, attrs: {name: {type: int}}}}}",
        "no attribute 'nam'",
        "'name'",
    ),
    "shorthand not alone": (
        "components: {c: {$options: {shorthand: ^x}, x: {type: int},"
        " y: {type: int, required: true}}}",
        "leaves out y",
        "",
    ),
    "component without attributes": (
        "kinds: {a: {^b: {type: component}}}",
        "needs attributes",
        "",
    ),
    "circle": ("components: {^c: {d: {type: c}}}", "holds itself", ""),
    "required status": (
        "kinds: {a: {b: {type: int, status: true, ^required: true}}}",
        "nothing in a status is required",
        "",
    ),
    "reserved status": (
        "kinds: {a: {^conditions: {type: int, status: true}}}",
        "reserved in every status",
        "",
    ),
    "status in a component": ("components: {c: {d: {type: int, ^status: true}}}", "of a kind", ""),
    "indexed in a map": (
        "kinds: {a: {^b: {type: map, of: c}}}\ncomponents: {c: {d: {type: int, indexed: true}}}",
        "nothing inside a map can be indexed",
        "",
    ),
    "indexed json": ("kinds: {a: {b: {type: json, ^indexed: true}}}", "cannot be indexed", ""),
    "unique list": (
        "kinds: {a: {b: {type: string, many: true, ^unique: project}}}",
        "cannot be unique",
        "",
    ),
    "column to nowhere": (
        "kinds: {a: {$options: {printcolumns: {B: ^spec.c}}, cc: {type: int}}}",
        "no 'spec.c' in A",
        "'cc'",
    ),
    "unknown include": (
        "kinds: {a: {$options: {include: ^comon}}}\ncomponents: {common: {b: {type: int}}}",
        "unknown component",
        "'common'",
    ),
    "include clashes": (
        "kinds: {a: {$options: {include: c}, ^b: {type: int}}}\ncomponents: {c: {b: {type: int}}}",
        "in the included component already",
        "",
    ),
    "kind twice": ("kinds: {a_b: {c: {type: int}}, ^AB: {c: {type: int}}}", "defined twice", ""),
    "short word taken": (
        "kinds: {a: {b: {type: int}}, c: {$options: {short: ^a}}}",
        "means A already",
        "",
    ),
    "session": ("kinds: {a: {b: {type: int, ^session: true}}}", "'session' is not supported", ""),
    "bind_to": ("kinds: {a: {b: {type: int, ^bind_to: x}}}", "'bind_to' is not supported", ""),
    "on_delete": ("kinds: {a: {b: {type: ref, ^on_delete: unset}}}", "is not supported", "owner"),
    "tags": ("kinds: {a: {b: {type: ref, ^tags: [x]}}}", "is not supported", "labels"),
    "attr": ("kinds: {a: {b: {type: int, ^attr: x}}}", "is not supported", "rename"),
    "kind-major": ("^kind-major: 1", "is not supported", "remove"),
    "secret": ("kinds: {a: {b: {type: ^secret}}}", "type secret", "not supported"),
}


@pytest.mark.parametrize(("text", "message", "hint"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_shown_where_it_stands(text: str, message: str, hint: str) -> None:
    before = text[: text.index("^")].split("\n")
    place = ("s0.yml", len(before) + 2, len(before[-1]) + 1)
    found = problems_of(HEAD + text.replace("^", "", 1))
    assert [(file, row, col) for file, row, col, _, _ in found] == [place]
    assert message in found[0][3]
    assert hint in found[0][4]


def test_every_mistake_of_every_file_is_reported_in_one_go() -> None:
    found = problems_of(
        HEAD + "kinds: {a: {b: {type: strng}, c: {type: enum}}}",
        HEAD + "kinds:\n  d: {e: {typ: int}}",
        "version: v1\nkinds: [",
        "domain: UPPER\nversion: one",
    )
    assert [(file, line) for file, line, _, _, _ in found] == [
        ("s0.yml", 3),
        ("s0.yml", 3),
        ("s1.yml", 4),
        ("s1.yml", 4),
        ("s2.yml", 2),
        ("s3.yml", 1),
        ("s3.yml", 2),
    ]


def test_a_broken_file_hides_no_names_from_the_others() -> None:
    found = problems_of(
        HEAD + "kinds: {a: {b: {type: ref, to: c}, d: {type: part}}}",
        HEAD + "kinds: {c: {x: {}}}\ncomponents: {part: {y: {type: int}}}",
    )
    assert [(file, message) for file, _, _, message, _ in found] == [("s1.yml", "type is missing")]


def test_files_must_not_need_each_others_components() -> None:
    found = problems_of(
        HEAD + "components: {a: {x: {type: b}}, c: {x: {type: int}}}",
        HEAD + "components: {b: {x: {type: c}}}",
    )
    assert {message for _, _, _, message, _ in found} == {
        "this file and another need each other's components: move the shared ones"
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_a_file_without_a_schema_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="holds no schema"):
        load([("empty.yml", text)])


def test_a_component_may_be_used_before_it_is_defined_and_in_other_files() -> None:
    first, second = load(
        [
            ("one.yml", HEAD + "kinds: {a: {b: {type: outer}}}"),
            (
                "two.yml",
                HEAD + "components: {outer: {i: {type: inner}}, inner: {x: {type: int}}}",
            ),
        ]
    )
    assert first.kinds[0].spec[0].component == "Outer"
    assert [part.name for part in second.components] == ["Inner", "Outer"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "kinds: {a: {phase: {type: enum, choices: [x]}}}\n"
            "components: {a_phase: {b: {type: int}}}",
            "APhase",
        ),
        ("kinds: {model: {b: {type: int}}}", "Model"),
        ("components: {a_b: {c: {type: int}}, AB: {c: {type: int}}}", "AB"),
    ],
)
def test_two_classes_of_one_name_are_refused(text: str, name: str) -> None:
    ((_, _, _, message, _),) = problems_of(HEAD + text)
    assert f"two things would become the class {name}" in message


def test_two_files_that_would_become_one_module_are_refused() -> None:
    with pytest.raises(InvalidInput, match="two files would become the module 'x'"):
        load([("a/x.yml", HEAD), ("b/x.yml", HEAD)])
