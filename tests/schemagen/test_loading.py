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
    "default in a map": (
        "kinds: {a: {b: {type: map, of: {type: int, ^default: 1}}}}",
        "stands on the map",
        "",
    ),
    "required in a map": (
        "kinds: {a: {b: {type: map, of: {type: int, ^required: true}}}}",
        "stands on the map",
        "",
    ),
    "default without what is required": (
        "kinds: {a: {b: {type: c, default: ^{y: 1}}}}\n"
        "components: {c: {x: {type: int, required: true}, y: {type: int}}}",
        "the default has no x",
        "",
    ),
    "default with an unknown attribute": (
        "kinds: {a: {b: {type: c, many: true, default: [{xx: 1}, {^xy: 1}]}}}\n"
        "components: {c: {xx: {type: int}}}",
        "no attribute 'xy'",
        "'xx'",
    ),
    "default wrong deep inside": (
        "kinds: {a: {b: {type: map, of: {type: c, many: true}, default: {k: [{x: {y: ^z}}]}}}}\n"
        "components: {c: {x: {type: component, attrs: {y: {type: int}}}}}",
        "no whole number",
        "",
    ),
    "default of labels": (
        "kinds: {a: {b: {type: label, many: true, default: ^[a]}}}",
        "a list of key=value",
        "",
    ),
    "default no keyword": ("kinds: {a: {b: {type: keyword, default: ^'a b'}}}", "match", ""),
    "default too short": (
        "kinds: {a: {b: {type: string, many: true, min_length: 2, default: ^[a]}}}",
        "shorter than min_length 2",
        "",
    ),
    "many maps": ("kinds: {a: {b: {type: map, of: int, ^many: true}}}", "never many", ""),
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
    "shorthand unknown": (
        "kinds: {a: {b: {type: component, shorthand: ^nam, attrs: {name: {type: int}}}}}",
        "no attribute 'nam'",
        "'name'",
    ),
    "shorthand unknown and a default of it": (
        "kinds: {a: {b: {type: c, default: 1}}}\n"
        "components: {c: {$options: {shorthand: ^x}, y: {type: int}}}",
        "no attribute 'x'",
        "",
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
    "indexed json": ("kinds: {a: {b: {type: json, ^indexed: true}}}", "cannot be indexed", ""),
    "unique list": (
        "kinds: {a: {b: {type: string, many: true, ^unique: project}}}",
        "cannot be unique",
        "",
    ),
    "one wire name twice": (
        "kinds: {a: {b: {type: int}, ^c: {type: int, attr: b}}}",
        "'c' and 'b' are one name",
        "",
    ),
    "wire name of an included attribute": (
        "kinds: {a: {$options: {include: c}, ^d: {type: int, attr: b}}}\n"
        "components: {c: {b: {type: int}}}",
        "in the included component already",
        "",
    ),
    "unknown major": ("kind-major: ^ap\nkinds: {app: {b: {type: int}}}", "no kind 'ap'", "'app'"),
    "session and required": (
        "kinds: {a: {b: {type: int, session: true, ^required: true}}}",
        "nothing in a status is required",
        "",
    ),
    "session in a component": (
        "components: {c: {d: {type: int, ^session: true}}}",
        "session stands on attributes of a kind only",
        "",
    ),
    "bound to an unknown value": (
        "kinds: {a: {b: {type: int, bind_to: ^db/entity.age}}}",
        "no value 'db/entity.age'",
        "db/entity.ttl",
    ),
    "bound to nothing": (
        "kinds: {a: {b: {type: int, bind_to: ^spec.cd}, cc: {type: int}}}",
        "no 'spec.cd' in A",
        "'cc'",
    ),
    "bound to another type": (
        "kinds: {a: {b: {type: int, bind_to: ^spec.c}, c: {type: string}}}",
        "is string, this is of another type",
        "",
    ),
    "bound to an unfit value": (
        "kinds: {a: {b: {type: int, bind_to: ^metadata.creationTimestamp}}}",
        "does not fit type int",
        "time",
    ),
    "bound inside a list": (
        "kinds: {a: {b: {type: int, bind_to: ^spec.c.d},"
        " c: {type: component, many: true, attrs: {d: {type: int}}}}}",
        "no single value",
        "",
    ),
    "bound to itself": (
        "kinds: {a: {b: {type: int, bind_to: ^status.b}}}",
        "is bound itself",
        "",
    ),
    "bound and indexed": (
        "kinds: {a: {b: {type: string, bind_to: db/id, ^indexed: true}}}",
        "index that",
        "",
    ),
    "on_delete of no ref": (
        "kinds: {a: {b: {type: int, ^on_delete: unset}}}",
        "on_delete is for refs",
        "",
    ),
    "on_delete of another form": (
        "kinds: {a: {b: {type: ref, on_delete: ^cascade}}}",
        "is not one of",
        "",
    ),
    "unset what is required": (
        "kinds: {a: {b: {type: ref, required: true, ^on_delete: unset}}}",
        "cannot be unset",
        "",
    ),
    "secret with a default": (
        "kinds: {a: {b: {type: map, of: secret, default: {c: ^x}}}}",
        "stands in no schema",
        "",
    ),
    "secret indexed": ("kinds: {a: {b: {type: secret, ^indexed: true}}}", "be indexed", ""),
    "secret unique": ("kinds: {a: {b: {type: secret, ^unique: project}}}", "be unique", ""),
    "secret leased": ("kinds: {a: {b: {type: secret, ^session: true}}}", "be leased", ""),
    "secret in a map indexed": (
        "kinds: {a: {b: {type: map, of: secret, ^indexed: true}}}",
        "a secret cannot be indexed",
        "",
    ),
    "secret as a merge key": (
        "kinds: {a: {b: {type: component, many: true, merge_key: ^c,"
        " attrs: {c: {type: secret}}}}}",
        "tells no elements apart",
        "",
    ),
    "secret as a column": (
        "kinds: {a: {$options: {printcolumns: {B: ^spec.b}}, b: {type: secret}}}",
        "is a secret",
        "",
    ),
    "indexed inside a circle": (
        "components: {c: {d: {type: c, many: true}, e: {type: int, ^indexed: true}}}",
        "inside a component that holds itself",
        "",
    ),
    "a ref inside a circle": (
        "kinds: {a: {b: {type: c}}}\n"
        "components: {c: {d: {type: c, many: true}, e: {type: map, of: {type: ref, ^to: a}}}}",
        "inside a component that holds itself",
        "",
    ),
    "indexed below a circle": (
        "components: {c: {d: {type: c, many: true}, e: {type: f}},"
        " f: {g: {type: int, ^indexed: true}}}",
        "inside a component that holds itself",
        "",
    ),
    "a secret inside a circle": (
        "components: {c: {d: {type: c, many: true}, e: {^type: secret}}}",
        "inside a component that holds itself",
        "",
    ),
    "a default inside a circle": (
        "components: {c: {d: {type: c, many: true, ^default: [{}]}}}",
        "inside a component that holds itself",
        "",
    ),
    "never whole": (
        "components: {^c: {d: {type: c, required: true}}}",
        "can never be whole",
        "",
    ),
    "conversions of another form": ("conversions: {v1: {app: ^{}}}", "is not of type", ""),
    "a component with a secret indexed": (
        "kinds: {a: {b: {type: c, ^indexed: true}}}\n"
        "components: {c: {d: {type: map, of: e}}, e: {f: {type: secret}}}",
        "a secret cannot be indexed",
        "",
    ),
    "a component with a secret leased": (
        "kinds: {a: {b: {type: map, of: {type: component, attrs: {d: {type: secret}}},"
        " ^session: true}}}",
        "a secret cannot be leased",
        "",
    ),
    "reserved wire name": (
        "kinds: {a: {^b: {type: int, status: true, attr: observedGeneration}}}",
        "reserved in every status",
        "",
    ),
    "default no ref": ("kinds: {a: {b: {type: ref, default: ^'a b'}}}", "no reference", ""),
    "default of bytes too long": (
        "kinds: {a: {b: {type: bytes, max_length: 1, default: ^aGk=}}}",
        "longer than max_length",
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


def test_a_wrong_key_hides_no_other_problem_of_its_file() -> None:
    found = problems_of(
        HEAD + "knds: {}\nkinds:\n"
        "  a:\n"
        "    $options: {shrt: x, printcolumns: {B: spec.zz}}\n"
        "    b: {type: int, requird: true}\n"
        "    c: {type: ref, to: unknown}\n"
        "    'd e': {type: int}\n"
        "    f: {type: map, of: {type: int, dflt: 1}}\n"
        "    g: {type: component, attrs: {h: {typ: int}}}\n"
        "    i: {type: int, default: x}\n"
        "  j: 5\n"
        "components: {k: {l: {type: k, required: true}}}"
    )
    assert [(line, message) for _, line, _, message, _ in found] == [
        (3, "unknown key 'knds'"),
        (6, "unknown key 'shrt'"),
        (6, "no 'spec.zz' in A"),
        (7, "unknown key 'requird'"),
        (8, "unknown kind 'unknown'"),
        (9, "'d e' is no name of letters, digits and _"),
        (10, "unknown key 'dflt'"),
        (11, "type is missing"),
        (11, "unknown key 'typ'"),
        (12, "'x' is no whole number"),
        (13, "5 is not of type 'object'"),
        (14, "a K can never be whole: it needs another one"),
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
    assert first.kinds[0].spec[0].component == ("two", "Outer")
    assert [part.name for part in second.components] == ["Inner", "Outer"]


def test_two_files_that_would_become_one_module_are_refused() -> None:
    with pytest.raises(InvalidInput, match="two files would become the module 'x'"):
        load([("a/x.yml", HEAD), ("b/x.yml", HEAD)])


@pytest.mark.parametrize("default", ["3", "0"])
def test_what_has_a_default_is_required_of_nobody(default: str) -> None:
    text = HEAD + f"kinds: {{a: {{b: {{type: int, required: true, default: {default}}}}}}}"
    (schema,) = load([("x.yml", text)])
    (attribute,) = schema.kinds[0].spec
    assert (attribute.required, attribute.default) == (False, int(default))
