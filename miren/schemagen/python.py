"""Typed entities from a schema: the classes a person would have written by hand.

One module a schema file. Inside: enums, then components, then for each kind its spec, its
status and the entity with a typed `new` and `partial`. The generated code needs `Model`,
`field` and `Entity`, and never the generator.

Modules have no `from __future__ import annotations`: annotations are evaluated as they stand,
which is why classes come in the order in which they are used and why references, which may
form circles across modules, name their kind in quotes. So do components that hold each other;
they are completed once all of them are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from miren.base.quantities import Duration, Quantity
from miren.schemagen.conversions import converters_of
from miren.schemagen.emit import Code, Group, Item, quote
from miren.schemagen.imports import Imports
from miren.schemagen.index import header
from miren.schemagen.model import Attribute, Component, Kind, Schema
from miren.schemagen.names import camel, member_name, parameter_name
from miren.schemagen.pytypes import PythonTypes, element_of

__all__ = ["render_module"]

_Parameter = Callable[[Attribute], str]


def render_module(schema: Schema, schemas: Sequence[Schema]) -> str:
    """Return the module of one schema; `schemas` are all that are generated together."""
    return _Module(schema, schemas).render()


class _Module:
    """The text of one module under construction."""

    def __init__(self, schema: Schema, schemas: Sequence[Schema]) -> None:
        self._schema = schema
        self._schemas = schemas
        self._body = Code()
        taken = set(_class_names(schema))
        self._imports = Imports(schema.module, taken)
        self._types = PythonTypes(schema, schemas, self._imports, taken)
        self._names: list[str] = []
        self._incomplete: list[Component] = []

    def render(self) -> str:
        schema = self._schema
        for component in schema.components:
            self._component(component)
        for kind in schema.kinds:
            self._kind(kind)

        code = Code()
        doc = schema.doc or f"The kinds of {schema.domain}/{schema.version} in {schema.file}."
        header(code, schema.file, doc)
        self._imports.write(code)
        names = tuple(quote(name) for name in sorted(self._names))
        code.bracketed(Group("__all__ = [", names, "]"), exploded=bool(names))
        return code.text() + self._body.text()

    # -- classes ---------------------------------------------------------------------------

    def _component(self, component: Component) -> None:
        options = f", shorthand={quote(component.shorthand)}" if component.shorthand else ""
        if any(map(self._types.is_forward, component.attributes)):
            self._incomplete.append(component)
        self._model(component.name, component.attributes, component.doc, options)
        self._types.define(component)
        while self._incomplete and not any(
            map(self._types.is_forward, self._incomplete[0].attributes)
        ):
            self._body.blank(2)
            self._body.line(f"{self._incomplete.pop(0).name}.model_rebuild()")

    def _model(
        self, name: str, attributes: Sequence[Attribute], doc: str, options: str = ""
    ) -> None:
        for attribute in attributes:
            self._enum(attribute)
            self._element_alias(name, attribute)
        self._model_header(name, attributes, options)
        code = self._body
        with code.indented():
            code.docstring(doc or f"The attributes of {name}.")
            if attributes:
                code.blank()
            for attribute in attributes:
                self._attribute(name, attribute)

    def _model_header(self, name: str, attributes: Sequence[Attribute], options: str) -> None:
        named = [a for a in attributes if a.wire != camel(a.name.removesuffix("_"))]
        if not named:
            self._class(name, f"({self._imports.use('Model')}{options})")
            return
        pairs = tuple(f"{quote(a.name)}: {quote(a.wire)}" for a in named)
        renaming = Group(f"{self._imports.use('renamed')}({{", pairs, "})")
        opening = f"alias_generator={renaming}"
        items: list[Item] = [self._imports.use("Model")]
        items += [options.removeprefix(", ")] if options else []
        self._names.append(name)
        self._body.blank(2)
        self._body.bracketed(Group(f"class {name}(", (*items, opening), ")"), after=":")

    def _class(self, name: str, bases: str) -> Code:
        self._names.append(name)
        self._body.blank(2)
        self._body.line(f"class {name}{bases}:")
        return self._body

    def _enum(self, attribute: Attribute) -> None:
        attribute = attribute.leaf
        if attribute.enum is None:
            return
        name = attribute.enum.name
        code = self._class(name, f"({self._imports.use('StrEnum')})")
        with code.indented():
            code.docstring(attribute.doc or f"The choices of {attribute.name}.")
            code.blank()
            for choice in attribute.choices:
                code.line(f"{member_name(choice)} = {quote(choice)}")
        choices = tuple(quote(choice) for choice in attribute.choices)
        code.blank(2)
        opening = f"{name}Text = {self._imports.use('Literal')}["
        code.bracketed(Group(opening, choices, "]"))

    def _element_alias(self, owner: str, attribute: Attribute, depth: int = 1) -> None:
        """Name the element of a list or map whose elements have constraints of their own."""
        element = element_of(attribute)
        if element is None:
            return
        self._element_alias(owner, element, depth + 1)
        options = self._types.constraints(element)
        if not options:
            return
        self._body.blank(2)
        self._imports.use("Annotated")
        options = self._types.element_options(element)
        call = Group(f"{self._imports.use('field')}(", tuple(options), ")")
        opening = f"{self._types.alias(owner, attribute, depth)} = Annotated["
        inner = self._types.value(owner, element, depth + 1)
        self._body.bracketed(Group(opening, (inner, call), "]"))

    def _kind(self, kind: Kind) -> None:
        spec, status = f"{kind.class_name}Spec", f"{kind.class_name}Status"
        self._model(spec, kind.spec, f"What the user wants of a {kind.name}.")
        self._model(status, kind.status, f"What controllers saw of a {kind.name}.")
        self._names.append(kind.class_name)
        code = self._body
        code.blank(2)
        code.bracketed(self._kind_header(kind, spec, status), after=":", exploded=True)
        with code.indented():
            code.docstring(kind.doc or f"The kind {kind.name}.")
            code.blank()
            self._maker(kind, "new", self._imports.use("Self"), self._whole_parameter)
            code.blank()
            partial = f"{self._imports.use('Partial')}[Self]"
            self._maker(kind, "partial", partial, self._part_parameter)

    def _kind_header(self, kind: Kind, spec: str, status: str) -> Group:
        schema = self._schema
        items: list[Item] = [
            f"{self._imports.use('Entity')}[{spec}, {status}]",
            f"api={quote(f'{schema.domain}/{schema.version}')}",
        ]
        if kind.name != kind.class_name:
            items.append(f"name={quote(kind.name)}")
        if kind.plural:
            items.append(f"plural={quote(kind.plural)}")
        if kind.short:
            items.append(Group("short=(", tuple(map(quote, kind.short)), ")"))
        if kind.scope == "cluster":
            items.append(f"scope={self._imports.use('Scope')}.CLUSTER")
        if kind.columns:
            self._imports.use("Column")
            columns = (f"Column({quote(c.title)}, {quote(c.path)})" for c in kind.columns)
            items.append(Group("columns=(", tuple(columns), ")"))
        if schema.aliases:
            items.append(Group("aliases=(", tuple(map(quote, schema.aliases)), ")"))
        converters = converters_of(kind, schema, self._schemas)
        if converters:
            self._imports.use("conversions")
            pairs = (
                replace(made, opening=f"{quote(version)}: {made.opening}")
                for version, made in converters.items()
            )
            items.append(Group("converts={", tuple(pairs), "}"))
        return Group(f"class {kind.class_name}(", tuple(items), ")")

    # -- attributes ------------------------------------------------------------------------

    def _attribute(self, owner: str, attribute: Attribute) -> None:
        annotation = self._types.annotation(owner, attribute)
        default = self._types.default(attribute)
        options = self._types.options(attribute)
        name = attribute.name
        if not options and default in (None, "default=None", "default=()"):
            plain = str(default or "").removeprefix("default=")
            self._body.annotated(name, annotation, plain)
            return
        items = ([default] if default else []) + options
        value = Group(f"{self._imports.use('field')}(", tuple(items), ")")
        self._body.annotated(name, annotation, value)

    # -- new and partial -------------------------------------------------------------------

    def _maker(self, kind: Kind, name: str, result: str, parameter: _Parameter) -> None:
        code = self._body
        cluster = kind.scope == "cluster"
        mapping = f"{self._imports.use('Mapping')}[str, str] | None = None"
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
            code.line(f"known = {self._imports.use('metadata')}({', '.join(given)})")
            pairs = tuple(f"{a.name}={parameter_name(a.name)}" for a in kind.spec)
            opening = f"given = {self._imports.use('document')}("
            code.bracketed(Group(opening, ("known", *pairs), ")"))
            code.line(f"return {_MAKER_RETURNS[name]}")

    def _whole_parameter(self, attribute: Attribute) -> str:
        name, accepted = parameter_name(attribute.name), self._types.accepted(attribute)
        if attribute.required:
            return f"{name}: {accepted}"
        if attribute.is_listed and attribute.default is None:
            return f"{name}: {accepted} = ()"
        shown = attribute.type in _SHOWN and not attribute.many and attribute.of is None
        if attribute.default is None or not shown:
            return f"{name}: {accepted} | None = None"
        if isinstance(attribute.default, str | Quantity | Duration):
            return f"{name}: {accepted} = {quote(str(attribute.default))}"
        return f"{name}: {accepted} = {attribute.default!r}"

    def _part_parameter(self, attribute: Attribute) -> str:
        name, accepted = parameter_name(attribute.name), self._types.accepted(attribute)
        return f"{name}: {accepted} | None = None"


_MAKER_DOC = {
    "new": "Return a complete {kind}; raise InvalidInput with every problem.",
    "partial": "Return only what is named here, for apply; None leaves an attribute out.",
}

_MAKER_RETURNS = {"new": "cls.from_document(given)", "partial": "Partial(cls, given)"}

#: Types whose defaults stand in the signature of `new`.
_SHOWN = {"string", "keyword", "label", "int", "float", "bool", "enum", "duration", "quantity"}


def _class_names(schema: Schema) -> Iterator[str]:
    for kind in schema.kinds:
        yield from (kind.class_name, f"{kind.class_name}Spec", f"{kind.class_name}Status")
    yield from (component.name for component in schema.components)
    for attribute in schema.attributes():
        if attribute.enum is not None:
            yield from (attribute.enum.name, f"{attribute.enum.name}Text")
