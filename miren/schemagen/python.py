"""Typed entities from a schema: the classes a person would have written by hand.

One module a schema file. Inside: enums, then components, then for each kind its spec, its
status and the entity with a typed `new` and `partial`. The generated code needs `Model`,
`field` and `Entity`, and never the generator.

Modules have no `from __future__ import annotations`: annotations are evaluated as they stand,
which is why classes come in the order in which they are used and why references, which may
form circles across modules, name their kind in quotes.
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from miren.base.quantities import Duration, Quantity
from miren.schemagen.emit import Code, Group, Item, quote
from miren.schemagen.model import Attribute, Component, Kind, Schema
from miren.schemagen.names import member_name, pascal

__all__ = ["render_index", "render_module"]

_TYPES = {
    "string": "str",
    "keyword": "str",
    "label": "str",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "bytes": "Base64",
    "time": "datetime",
    "duration": "Duration",
    "quantity": "Quantity",
    "json": "Json",
}

#: What a text of these types looks like; `pattern` in the schema takes its place.
_PATTERNS = {"keyword": r"\S+", "label": r"[^=\s]+=.*"}

#: What callers of `new` may pass, where it is more than the attribute's own type.
_ACCEPTED = {
    "bytes": "bytes",
    "duration": "Duration | str",
    "quantity": "Quantity | str | int",
    "json": "object",
}

_ORIGINS = {
    "Mapping": "collections.abc",
    "Sequence": "collections.abc",
    "datetime": "datetime",
    "StrEnum": "enum",
    "TYPE_CHECKING": "typing",
    "Annotated": "typing",
    "Any": "typing",
    "Literal": "typing",
    "Self": "typing",
    "Duration": "miren.base.quantities",
    "Quantity": "miren.base.quantities",
    "document": "miren.entities.arguments",
    "metadata": "miren.entities.arguments",
    "Entity": "miren.entities.entity",
    "Partial": "miren.entities.entity",
    "Column": "miren.entities.kinds",
    "Scope": "miren.entities.kinds",
    "Base64": "miren.entities.model",
    "Json": "miren.entities.model",
    "Labels": "miren.entities.model",
    "Map": "miren.entities.model",
    "Model": "miren.entities.model",
    "Ref": "miren.entities.model",
    "field": "miren.entities.model",
}

_Parameter = Callable[[Attribute], str]

#: `new`'s own parameters: an attribute of that name gets an underscore after it.
_TAKEN = frozenset(
    {"cls", "name", "project", "labels", "annotations", "metadata", "document", "known", "given"}
)


def render_module(schema: Schema, schemas: Sequence[Schema]) -> str:
    """Return the module of one schema; `schemas` are all that are generated together."""
    return _Module(schema, schemas).render()


def render_index(schemas: Sequence[Schema]) -> str:
    """Return the package's `__init__`: every kind, and `KINDS` with all of them."""
    code = Code()
    _header(code, "*.yml", "Every kind, by name.")
    imports = {"typing": {"Any"}, "miren.entities.entity": {"Entity"}}
    for schema in schemas:
        if schema.kinds:
            imports["." + schema.module] = {kind.name for kind in schema.kinds}
    _write_imports(code, imports)
    kinds = [kind.name for schema in schemas for kind in schema.kinds]
    code.blank()
    names = ["KINDS", *sorted(kinds)]
    code.bracketed(Group("__all__ = [", tuple(map(quote, names)), "]"), exploded=True)
    code.blank()
    code.line("#: All kinds of these schemas, ready for `Kinds(KINDS)`.")
    opening = "KINDS: tuple[type[Entity[Any, Any]], ...] = ("
    code.bracketed(Group(opening, tuple(kinds), ")"), exploded=bool(kinds))
    return code.text()


class _Module:
    """The text of one module under construction."""

    def __init__(self, schema: Schema, schemas: Sequence[Schema]) -> None:
        self._schema = schema
        self._components = {part.name: part for other in schemas for part in other.components}
        self._kind_modules = {kind.name: kind.module for s in schemas for kind in s.kinds}
        self._body = Code()
        self._used: set[str] = set()
        self._from_components: dict[str, set[str]] = defaultdict(set)
        self._for_checkers: dict[str, set[str]] = defaultdict(set)
        self._names: list[str] = []

    def render(self) -> str:
        schema = self._schema
        for component in schema.components:
            self._component(component)
        for kind in schema.kinds:
            self._kind(kind)

        code = Code()
        doc = schema.doc or f"The kinds of {schema.domain}/{schema.version} in {schema.file}."
        _header(code, schema.file, doc)
        self._imports(code)
        names = tuple(quote(name) for name in sorted(self._names))
        code.bracketed(Group("__all__ = [", names, "]"), exploded=bool(names))
        return code.text() + self._body.text()

    def _imports(self, code: Code) -> None:
        checked = {m: n for m, n in self._for_checkers.items() if m not in self._from_components}
        if checked:
            self._use("TYPE_CHECKING")
        imports: dict[str, set[str]] = defaultdict(set)
        for name in self._used:
            imports[_ORIGINS[name]].add(name)
        for module, names in self._from_components.items():
            imports["." + module] |= names | self._for_checkers.get(module, set())
        _write_imports(code, imports)
        code.blank()
        if checked:
            code.line("if TYPE_CHECKING:")
            with code.indented():
                _write_imports(code, {"." + module: names for module, names in checked.items()})
            code.blank()

    # -- classes ---------------------------------------------------------------------------

    def _component(self, component: Component) -> None:
        shorthand = f", shorthand={quote(component.shorthand)}" if component.shorthand else ""
        self._model(component.name, component.attributes, component.doc, shorthand)

    def _model(
        self, name: str, attributes: Sequence[Attribute], doc: str, options: str = ""
    ) -> None:
        for attribute in attributes:
            self._enum(attribute)
            self._element_alias(name, attribute)
        code = self._class(name, f"({self._use('Model')}{options})")
        with code.indented():
            code.docstring(doc or f"The attributes of {name}.")
            if attributes:
                code.blank()
            for attribute in attributes:
                self._attribute(name, attribute)

    def _class(self, name: str, bases: str) -> Code:
        self._names.append(name)
        self._body.blank(2)
        self._body.line(f"class {name}{bases}:")
        return self._body

    def _enum(self, attribute: Attribute) -> None:
        attribute = attribute.of or attribute
        if attribute.type != "enum":
            return
        code = self._class(attribute.enum, f"({self._use('StrEnum')})")
        with code.indented():
            code.docstring(attribute.doc or f"The choices of {attribute.name}.")
            code.blank()
            for choice in attribute.choices:
                code.line(f"{member_name(choice)} = {quote(choice)}")
        choices = tuple(quote(choice) for choice in attribute.choices)
        code.blank(2)
        code.bracketed(Group(f"{attribute.enum}Text = {self._use('Literal')}[", choices, "]"))

    def _element_alias(self, owner: str, attribute: Attribute) -> None:
        """Name the element of a list or map whose elements have constraints of their own."""
        element = _element(attribute)
        options = self._bounds(element) if element is not None else []
        if element is None or not options:
            return
        self._body.blank(2)
        self._use("Annotated")
        call = Group(f"{self._use('field')}(", tuple(options), ")")
        opening = f"{_alias(owner, attribute)} = Annotated["
        self._body.bracketed(Group(opening, (self._scalar(element), call), "]"))

    def _kind(self, kind: Kind) -> None:
        spec, status = f"{kind.name}Spec", f"{kind.name}Status"
        self._model(spec, kind.spec, f"What the user wants of a {kind.name}.")
        self._model(status, kind.status, f"What controllers saw of a {kind.name}.")
        self._names.append(kind.name)
        code = self._body
        code.blank(2)
        code.bracketed(self._kind_header(kind, spec, status), after=":", exploded=True)
        with code.indented():
            code.docstring(kind.doc or f"The kind {kind.name}.")
            code.blank()
            self._maker(kind, "new", self._use("Self"), self._whole_parameter)
            code.blank()
            self._maker(kind, "partial", f"{self._use('Partial')}[Self]", self._part_parameter)

    def _kind_header(self, kind: Kind, spec: str, status: str) -> Group:
        schema = self._schema
        items: list[Item] = [
            f"{self._use('Entity')}[{spec}, {status}]",
            f"api={quote(f'{schema.domain}/{schema.version}')}",
        ]
        if kind.plural:
            items.append(f"plural={quote(kind.plural)}")
        if kind.short:
            items.append(Group("short=(", tuple(map(quote, kind.short)), ")"))
        if kind.scope == "cluster":
            items.append(f"scope={self._use('Scope')}.CLUSTER")
        if kind.columns:
            self._use("Column")
            columns = (f"Column({quote(c.title)}, {quote(c.path)})" for c in kind.columns)
            items.append(Group("columns=(", tuple(columns), ")"))
        if schema.aliases:
            items.append(Group("aliases=(", tuple(map(quote, schema.aliases)), ")"))
        return Group(f"class {kind.name}(", tuple(items), ")")

    # -- attributes ------------------------------------------------------------------------

    def _attribute(self, owner: str, attribute: Attribute) -> None:
        annotation = self._annotation(owner, attribute)
        default = self._default(attribute)
        options = self._options(attribute)
        name = attribute.name
        if not options and default in (None, "None", "()"):
            self._body.line(f"{name}: {annotation}" + (f" = {default}" if default else ""))
            return
        items = ([f"default={default}"] if default else []) + options
        opening = f"{name}: {annotation} = {self._use('field')}("
        self._body.bracketed(Group(opening, tuple(items), ")"))

    def _annotation(self, owner: str, attribute: Attribute) -> str:
        if attribute.type == "label" and attribute.many:
            return self._use("Labels")
        element = _element(attribute)
        if element is None:
            scalar = self._scalar(attribute)
            optional = not attribute.required and attribute.default is None
            return f"{scalar} | None" if optional and attribute.type != "json" else scalar
        inner = _alias(owner, attribute) if self._bounds(element) else self._scalar(element)
        if attribute.of is not None:
            return f"{self._use('Map')}[{inner}]"
        return f"tuple[{inner}, ...]"

    def _scalar(self, attribute: Attribute) -> str:
        match attribute.type:
            case "enum":
                return attribute.enum
            case "component":
                return self._component_name(attribute.component)
            case "ref":
                return self._ref(attribute)
        name = _TYPES[attribute.type]
        return self._use(name) if name in _ORIGINS else name

    def _component_name(self, name: str) -> str:
        module = self._components[name].module
        if module != self._schema.module:
            self._from_components[module].add(name)
        return name

    def _ref(self, attribute: Attribute) -> str:
        for name in attribute.to:
            if self._kind_modules[name] != self._schema.module:
                self._for_checkers[self._kind_modules[name]].add(name)
        if not attribute.to:
            self._use("Entity")
            self._use("Model")
        target = " | ".join(attribute.to) or "Entity[Model, Model]"
        return f"{self._use('Ref')}[{quote(target)}]"

    def _default(self, attribute: Attribute) -> str | None:
        if attribute.default is not None:
            return self._literal(attribute, attribute.default)
        if attribute.required:
            return None
        if attribute.of is not None or (attribute.type == "label" and attribute.many):
            return "{}"
        return "()" if attribute.many else "None"

    def _literal(self, attribute: Attribute, value: object) -> str:
        if isinstance(value, tuple):
            items = [self._literal(attribute, item) for item in value]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        if isinstance(value, dict):
            inner = attribute.of or attribute
            pairs = [f"{quote(key)}: {self._literal(inner, item)}" for key, item in value.items()]
            return "{" + ", ".join(pairs) + "}"
        match attribute.type:
            case "enum":
                return f"{attribute.enum}.{member_name(str(value))}"
            case "ref":
                return f"{self._use('Ref')}({quote(str(value))})"
            case "time":
                return f"{self._use('datetime')}.fromisoformat({quote(str(value))})"
            case "bytes":
                return repr(base64.b64decode(str(value))).replace("'", '"')
        return self._constant(value)

    def _constant(self, value: object) -> str:
        match value:
            case Quantity():
                return f"{self._use('Quantity')}({quote(str(value))})"
            case Duration():
                return f"{self._use('Duration')}.parse({quote(str(value))})"
            case str():
                return quote(value)
        return repr(value)

    def _options(self, attribute: Attribute) -> list[str]:
        """Return everything `field` is told besides the default."""
        options = [] if _element(attribute) is not None else self._bounds(attribute)
        for name in ("min_length", "max_length"):
            if (length := getattr(attribute, name)) is not None:
                options.append(f"{name}={length}")
        for name in ("indexed", "immutable", "owner"):
            if getattr(attribute, name):
                options.append(f"{name}=True")
        for name in ("unique", "merge_key"):
            if text := getattr(attribute, name):
                options.append(f"{name}={quote(text)}")
        if attribute.to:
            options.append(f"to={Group('(', tuple(map(quote, attribute.to)), ')')}")
        if attribute.example is not None:
            options.append(f"example={_data(attribute.example)}")
        if attribute.doc:
            options.append(f"doc={quote(' '.join(attribute.doc.split()))}")
        return options

    def _bounds(self, attribute: Attribute) -> list[str]:
        """Return the constraints on a single value."""
        bounds = [
            f"{name}={self._constant(value)}"
            for name in ("min", "max")
            if (value := getattr(attribute, name)) is not None
        ]
        pattern = attribute.pattern or _PATTERNS.get(attribute.type)
        if attribute.many and attribute.type == "label":
            pattern = None  # `Labels` checks its own
        return [*bounds, f"pattern={_regex(pattern)}"] if pattern else bounds

    # -- new and partial -------------------------------------------------------------------

    def _maker(self, kind: Kind, name: str, result: str, parameter: _Parameter) -> None:
        code = self._body
        cluster = kind.scope == "cluster"
        mapping = f"{self._use('Mapping')}[str, str] | None = None"
        envelope = [f"labels: {mapping}", f"annotations: {mapping}"]
        if not cluster:
            envelope.insert(0, 'project: str = ""')
        attributes = [parameter(attribute) for attribute in kind.spec]
        code.line("@classmethod")
        # The base takes any attribute; this one says which, so that checkers see a typo.
        code.bracketed(
            Group(
                f"def {name}(  # type: ignore[override]  # only this kind's attributes",
                ("cls", "name: str", "*", *envelope, *attributes),
                f") -> {result}:",
            ),
            exploded=True,
        )
        with code.indented():
            code.docstring(_MAKER_DOC[name].format(kind=kind.name))
            known = ["name", "" if cluster else "project=project", "labels=labels"]
            given = [part for part in [*known, "annotations=annotations"] if part]
            self._use("metadata")
            code.line(f"known = metadata({', '.join(given)})")
            pairs = tuple(f"{a.name}={_parameter_name(a.name)}" for a in kind.spec)
            self._use("document")
            code.bracketed(Group("given = document(", ("known", *pairs), ")"))
            code.line(f"return {_MAKER_RETURNS[name]}")

    def _whole_parameter(self, attribute: Attribute) -> str:
        name, accepted = _parameter_name(attribute.name), self._accepted(attribute)
        if attribute.required:
            return f"{name}: {accepted}"
        if attribute.many and attribute.type != "label" and attribute.default is None:
            return f"{name}: {accepted} = ()"
        shown = attribute.type in _SHOWN and not attribute.many and attribute.of is None
        if attribute.default is None or not shown:
            return f"{name}: {accepted} | None = None"
        if isinstance(attribute.default, str | Quantity | Duration):
            return f"{name}: {accepted} = {quote(str(attribute.default))}"
        return f"{name}: {accepted} = {attribute.default!r}"

    def _part_parameter(self, attribute: Attribute) -> str:
        return f"{_parameter_name(attribute.name)}: {self._accepted(attribute)} | None = None"

    def _accepted(self, attribute: Attribute) -> str:
        """Return the annotation of what a caller may pass for an attribute."""
        if attribute.type == "label" and attribute.many:
            return f"{self._use('Mapping')}[str, str]"
        if attribute.of is not None:
            return f"{self._use('Mapping')}[str, {self._accepted(attribute.of)}]"
        if attribute.type == "component":
            accepted = self._accepted_component(attribute.component)
        elif attribute.type == "enum":
            accepted = f"{attribute.enum} | {attribute.enum}Text"
        elif attribute.type == "ref":
            accepted = "str"
        else:
            accepted = _ACCEPTED.get(attribute.type) or _TYPES[attribute.type]
            self._used |= set(re.findall(r"\w+", accepted)) & set(_ORIGINS)
        return f"{self._use('Sequence')}[{accepted}]" if attribute.many else accepted

    def _accepted_component(self, name: str) -> str:
        component = self._components[name]
        accepted = f"{self._component_name(name)} | {self._use('Mapping')}[str, object]"
        for attribute in component.attributes:
            if attribute.name == component.shorthand:
                scalar = self._accepted(attribute)
                accepted += "".join(
                    f" | {part}" for part in scalar.split(" | ") if part not in accepted
                )
        return accepted

    def _use(self, name: str) -> str:
        self._used.add(name)
        return name


_MAKER_DOC = {
    "new": "Return a complete {kind}; raise InvalidInput with every problem.",
    "partial": "Return only what is named here, for apply; None leaves an attribute out.",
}

_MAKER_RETURNS = {"new": "cls.from_document(given)", "partial": "Partial(cls, given)"}

#: Types whose defaults stand in the signature of `new`.
_SHOWN = {"string", "keyword", "label", "int", "float", "bool", "enum", "duration", "quantity"}


def _element(attribute: Attribute) -> Attribute | None:
    """Return what a list or map holds; None for a single value."""
    if attribute.of is not None:
        return attribute.of
    if attribute.many and attribute.type != "label":
        return Attribute(
            attribute.name,
            attribute.type,
            enum=attribute.enum,
            choices=attribute.choices,
            component=attribute.component,
            to=attribute.to,
            min=attribute.min,
            max=attribute.max,
            pattern=attribute.pattern,
        )
    return None


def _alias(owner: str, attribute: Attribute) -> str:
    return f"{owner}{pascal(attribute.name)}Item"


def _parameter_name(name: str) -> str:
    return f"{name}_" if name in _TAKEN else name


def _regex(pattern: str) -> str:
    if "\\" in pattern and '"' not in pattern and not pattern.endswith("\\"):
        return f'r"{pattern}"'
    return quote(pattern)


def _data(value: object) -> str:
    """Return JSON data as Python source, with texts in double quotes."""
    match value:
        case str():
            return quote(value)
        case list():
            return f"[{', '.join(map(_data, value))}]"
        case dict():
            return "{" + ", ".join(f"{quote(k)}: {_data(item)}" for k, item in value.items()) + "}"
    return str(value) if isinstance(value, Quantity | Duration) else repr(value)


def _header(code: Code, source: str, doc: str) -> None:
    code.line(f"# generated by miren schema generate from {source}; do not edit")
    code.docstring(doc)
    code.blank()


def _write_imports(code: Code, imports: dict[str, set[str]]) -> None:
    """Write imports as isort orders them: standard library, miren, this package."""
    sections = (
        [m for m in imports if not m.startswith((".", "miren"))],
        [m for m in imports if m.startswith("miren")],
        [m for m in imports if m.startswith(".")],
    )
    first = True
    for section in sections:
        if section and not first:
            code.blank()
        for module in sorted(section):
            first = False
            _write_import(code, module, imports[module])


def _write_import(code: Code, module: str, names: Iterable[str]) -> None:
    ordered = tuple(sorted(names, key=lambda name: (_import_rank(name), name)))
    single = f"from {module} import {', '.join(ordered)}"
    if len(single) <= 95:
        code.line(single)
    else:
        code.bracketed(Group(f"from {module} import (", ordered, ")"), exploded=True)


def _import_rank(name: str) -> int:
    if name.isupper() and len(name) > 1:
        return 0
    return 1 if name[0].isupper() else 2
