"""Typed entities from a schema: the classes a person would have written by hand.

One module a schema file. Inside: enums, then components, then for each kind its spec, its
status and the entity with a typed `new` and `partial`. The generated code needs `Model`,
`field` and `Entity`, and never the generator.

Modules have no `from __future__ import annotations`: annotations are evaluated as they stand,
which is why classes come in the order in which they are used and why references, which may
form circles across modules, name their kind in quotes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from miren.base.quantities import Duration, Quantity
from miren.schemagen.emit import Code, Group, Item, quote
from miren.schemagen.imports import Imports, write_imports
from miren.schemagen.model import Attribute, Component, Kind, Schema
from miren.schemagen.names import member_name
from miren.schemagen.pytypes import PythonTypes, alias_of, element_of

__all__ = ["render_index", "render_module"]

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
    write_imports(code, imports)
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
        self._body = Code()
        self._imports = Imports()
        self._types = PythonTypes(schema, schemas, self._imports)
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
        self._imports.write(code)
        names = tuple(quote(name) for name in sorted(self._names))
        code.bracketed(Group("__all__ = [", names, "]"), exploded=bool(names))
        return code.text() + self._body.text()

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
        code = self._class(name, f"({self._imports.use('Model')}{options})")
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
        code = self._class(attribute.enum, f"({self._imports.use('StrEnum')})")
        with code.indented():
            code.docstring(attribute.doc or f"The choices of {attribute.name}.")
            code.blank()
            for choice in attribute.choices:
                code.line(f"{member_name(choice)} = {quote(choice)}")
        choices = tuple(quote(choice) for choice in attribute.choices)
        code.blank(2)
        opening = f"{attribute.enum}Text = {self._imports.use('Literal')}["
        code.bracketed(Group(opening, choices, "]"))

    def _element_alias(self, owner: str, attribute: Attribute) -> None:
        """Name the element of a list or map whose elements have constraints of their own."""
        element = element_of(attribute)
        options = self._types.bounds(element) if element is not None else []
        if element is None or not options:
            return
        self._body.blank(2)
        self._imports.use("Annotated")
        call = Group(f"{self._imports.use('field')}(", tuple(options), ")")
        opening = f"{alias_of(owner, attribute)} = Annotated["
        self._body.bracketed(Group(opening, (self._types.scalar(element), call), "]"))

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
        return Group(f"class {kind.name}(", tuple(items), ")")

    # -- attributes ------------------------------------------------------------------------

    def _attribute(self, owner: str, attribute: Attribute) -> None:
        annotation = self._types.annotation(owner, attribute)
        default = self._types.default(attribute)
        options = self._types.options(attribute)
        name = attribute.name
        if not options and default in (None, "None", "()"):
            self._body.line(f"{name}: {annotation}" + (f" = {default}" if default else ""))
            return
        items = ([f"default={default}"] if default else []) + options
        opening = f"{name}: {annotation} = {self._imports.use('field')}("
        self._body.bracketed(Group(opening, tuple(items), ")"))

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
            pairs = tuple(f"{a.name}={_parameter_name(a.name)}" for a in kind.spec)
            opening = f"given = {self._imports.use('document')}("
            code.bracketed(Group(opening, ("known", *pairs), ")"))
            code.line(f"return {_MAKER_RETURNS[name]}")

    def _whole_parameter(self, attribute: Attribute) -> str:
        name, accepted = _parameter_name(attribute.name), self._types.accepted(attribute)
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
        name, accepted = _parameter_name(attribute.name), self._types.accepted(attribute)
        return f"{name}: {accepted} | None = None"


_MAKER_DOC = {
    "new": "Return a complete {kind}; raise InvalidInput with every problem.",
    "partial": "Return only what is named here, for apply; None leaves an attribute out.",
}

_MAKER_RETURNS = {"new": "cls.from_document(given)", "partial": "Partial(cls, given)"}

#: Types whose defaults stand in the signature of `new`.
_SHOWN = {"string", "keyword", "label", "int", "float", "bool", "enum", "duration", "quantity"}


def _parameter_name(name: str) -> str:
    return f"{name}_" if name in _TAKEN else name


def _header(code: Code, source: str, doc: str) -> None:
    code.line(f"# generated by miren schema generate from {source}; do not edit")
    code.docstring(doc)
    code.blank()
