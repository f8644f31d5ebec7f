"""What the names in schema files mean: components, then kinds, then what needs both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from miren.base.errors import Problem
from miren.base.suggestions import closest
from miren.schemagen.attributes import AttributeReader, Scope
from miren.schemagen.bindings import bound
from miren.schemagen.clashes import clashes
from miren.schemagen.conversions import wrong_conversions
from miren.schemagen.defaults import settled
from miren.schemagen.files import SchemaFile
from miren.schemagen.model import Attribute, ClassName, Column, Component, Kind, Path, Schema
from miren.schemagen.names import pascal, python_name
from miren.schemagen.naming import Names, Unknown
from miren.schemagen.order import circles, in_order
from miren.schemagen.paths import follow
from miren.schemagen.rules import Place

__all__ = ["Compiler"]

_RESERVED = ("conditions", "observedGeneration", "handled")


class Compiler:
    """Gives every name its meaning, across files."""

    def __init__(self, files: Sequence[SchemaFile], problems: list[Problem]) -> None:
        self._files = files
        self._problems = problems
        self._names = Names(files)
        self._components: dict[ClassName, Component] = {}

    def compile(self) -> tuple[Schema, ...]:
        """Return the schemas; what is wrong in them goes to the problems."""
        pairs = [(file, self._scope(file)) for file in self._files]
        for file, scope in pairs:
            self._check_twins(file, scope)
        whole = [(file, scope) for file, scope in pairs if file.whole]
        for file, scope in whole:
            self._compile_components(file, scope)
        schemas = [self._schema(file, scope) for file, scope in whole]
        schemas = [self._settled(schema) for schema in schemas]
        schemas = [
            self._finished(schema, scope)
            for (_, scope), schema in zip(whole, schemas, strict=True)
        ]
        for _, scope in pairs:
            for check in scope.later:
                check()
            self._problems.extend(scope.problems)
        for (file, _), schema in zip(whole, schemas, strict=True):
            for path, message in (*clashes(schema, schemas), *circles(schema, schemas)):
                place = file.document.position(path, key=path[-1:] != ("short",))
                self._problems.append(Problem(message, path, place))
            for wrong in wrong_conversions(schema, schemas):
                place = file.document.position(wrong.path)
                self._problems.append(Problem(wrong.message, wrong.path, place, wrong.hint))
        return () if self._problems else tuple(in_order(each, schemas) for each in schemas)

    def _scope(self, file: SchemaFile) -> Scope:
        classes = self._names.classes[id(file)]
        return Scope(file, file.module, self._names, classes, self._components)

    def _check_twins(self, file: SchemaFile, scope: Scope) -> None:
        for name in file.kinds:
            if any(True for _ in self._names.twins(name, file)):
                message = f"kind {pascal(name)} is defined twice"
                scope.problem(("kinds", name), message, key=True)
        major = file.data.get("kind-major")
        if isinstance(major, str) and file.whole and self._major(file) is None:
            hint = closest(major, file.kinds)
            scope.problem(("kind-major",), f"no kind {major!r} in this file", hint=hint)

    @staticmethod
    def _major(file: SchemaFile) -> str | None:
        """Return the kind that comes first, as it is written; None if there is no such kind."""
        major = pascal(str(file.data.get("kind-major", ""))).lower()
        return next((name for name in file.kinds if pascal(name).lower() == major), None)

    # -- components ------------------------------------------------------------------------

    def _compile_components(self, file: SchemaFile, scope: Scope) -> None:
        for name, written in file.components.items():
            path = ("components", name)
            meaning = self._names.component(name, file)
            assert meaning is not None  # this file defines it
            class_name = meaning.known.name
            reader = AttributeReader(scope, class_name, Place.COMPONENT)
            attributes = reader.read_all(written, path)
            options = written.get("$options") or {}
            shorthand = python_name(options["shorthand"]) if "shorthand" in options else None
            reader.check_shorthand(shorthand, attributes, (*path, "$options", "shorthand"))
            doc = options.get("doc", "")
            scope.add(Component(class_name, scope.module, attributes, doc, shorthand, path))

    # -- kinds -----------------------------------------------------------------------------

    def _schema(self, file: SchemaFile, scope: Scope) -> Schema:
        major = self._major(file)
        kinds = {name: self._kind(scope, name, written) for name, written in file.kinds.items()}
        return Schema(
            file=file.name,
            module=file.module,
            domain=file.domain,
            version=file.version,
            doc=file.data.get("doc", ""),
            aliases=tuple(file.data.get("aliases", ())),
            components=tuple(scope.made),
            kinds=tuple(kinds[name] for name in sorted(kinds, key=lambda name: name != major)),
            conversions=file.data.get("conversions", {}),
        )

    def _kind(self, scope: Scope, name: str, written: Mapping[str, Any]) -> Kind:
        path = ("kinds", name)
        class_name = self._names.class_of_kind(name, scope.file)
        options = written.get("$options") or {}
        reader = AttributeReader(scope, class_name, Place.KIND)
        included = self._included(scope, class_name, options, path)
        attributes = list(included)
        for attribute in reader.read_all(written, path):
            if any(known.spellings() & attribute.spellings() for known in included):
                message = f"{attribute.at[-1]!r} is in the included component already"
                scope.problem(attribute.at, message, key=True)
            if attribute.status and attribute.wire in _RESERVED:
                message = f"{attribute.wire!r} is reserved in every status"
                scope.problem(attribute.at, message, key=True)
            attributes.append(attribute)
        short = options.get("short", ())
        return Kind(
            name=pascal(name),
            class_name=class_name,
            module=scope.module,
            spec=tuple(known for known in attributes if not known.status),
            status=tuple(known for known in attributes if known.status),
            doc=options.get("doc", ""),
            plural=options.get("plural"),
            short=(short,) if isinstance(short, str) else tuple(short),
            scope=options.get("scope", "project"),
            columns=tuple(
                Column(title, dotted)
                for title, dotted in (options.get("printcolumns") or {}).items()
            ),
            at=path,
        )

    def _included(
        self, scope: Scope, class_name: str, options: Mapping[str, Any], path: Path
    ) -> tuple[Attribute, ...]:
        """Return a component's attributes, read again so that their enums are the kind's own."""
        if "include" not in options:
            return ()
        name, here = options["include"], (*path, "$options", "include")
        try:
            meaning = self._names.component(name, scope.file)
        except Unknown as error:
            scope.problem(here, str(error), hint=error.hint)
            return ()
        if meaning is None:
            hint = closest(name, self._names.component_names())
            scope.problem(here, f"unknown component {name!r}", hint=hint)
            return ()
        if not meaning.file.whole:
            return ()
        # What is wrong with the component has been said where it is defined.
        quiet = replace(scope, file=meaning.file, problems=[], later=[])
        reader = AttributeReader(quiet, class_name, Place.KIND)
        return reader.read_all(meaning.file.components[meaning.written], ("components", name))

    # -- what needs everything to be known ----------------------------------------------------

    def _settled(self, schema: Schema) -> Schema:
        components = tuple(
            replace(part, attributes=settled(part.attributes, self._components))
            for part in schema.components
        )
        kinds = tuple(
            replace(
                kind,
                spec=settled(kind.spec, self._components),
                status=settled(kind.status, self._components),
            )
            for kind in schema.kinds
        )
        return replace(schema, components=components, kinds=kinds)

    def _finished(self, schema: Schema, scope: Scope) -> Schema:
        kinds = []
        for kind in schema.kinds:
            status = tuple(self._bound(scope, kind, attribute) for attribute in kind.status)
            columns = tuple(self._columns(scope, kind))
            kinds.append(replace(kind, status=status, columns=columns))
        return replace(schema, kinds=tuple(kinds))

    def _bound(self, scope: Scope, kind: Kind, attribute: Attribute) -> Attribute:
        if attribute.bind_to is None:
            return attribute
        try:
            return replace(attribute, bind_to=bound(attribute, kind, self._components))
        except Unknown as error:
            scope.problem((*attribute.at, "bind_to"), str(error), hint=error.hint)
            return attribute

    def _columns(self, scope: Scope, kind: Kind) -> Iterator[Column]:
        for column in kind.columns:
            here = (*kind.at, "$options", "printcolumns", column.title)
            try:
                path, found = follow(column.path, kind, self._components)
            except Unknown as error:
                scope.problem(here, str(error), hint=error.hint)
                continue
            if found is not None and found.leaf.type == "secret":
                scope.problem(here, f"{column.path!r} is a secret: it is never shown")
            yield Column(column.title, path)
