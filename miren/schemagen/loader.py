"""Schema files to checked schemas: everything wrong in any of them is reported at once.

In three steps: the YAML, each file's shape (a JSON Schema), then what names mean, across all
files. Components may be used by other files of the same run; kinds may be named by any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput, Problem
from miren.base.suggestions import closest
from miren.base.yaml import Located, in_reading_order, parse
from miren.schemagen.attributes import AttributeReader, Scope
from miren.schemagen.clashes import clashes
from miren.schemagen.language import LANGUAGE, REFUSED_KEYS
from miren.schemagen.model import Attribute, Column, Component, Kind, Schema
from miren.schemagen.names import camel, pascal, snake
from miren.schemagen.order import circles, in_order

__all__ = ["load", "load_files"]

Step = str | int
_RESERVED = ("conditions", "observed_generation", "handled")
_METADATA = ("name", "project", "uid", "generation", "creationTimestamp", "resourceVersion")


def load_files(paths: Iterable[Path]) -> tuple[Schema, ...]:
    """Return the schemas in these files; raise InvalidInput with every problem in them."""
    return load((str(path), _text_of(path)) for path in paths)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8: {error.reason}") from error


def load(texts: Iterable[tuple[str, str]]) -> tuple[Schema, ...]:
    """Return the schemas in these (file name, text) pairs, in the order given.

    Raises InvalidInput with every problem of every file, each with its place.
    """
    problems: list[Problem] = []
    given = list(texts)
    files = [file for name, text in given for file in _read(name, text, problems)]
    schemas = _Compiler(files, problems).compile()
    if problems:
        raise InvalidInput(in_reading_order(problems, [name for name, _ in given]))
    return schemas


def _read(name: str, text: str, problems: list[Problem]) -> Iterator[_File]:
    parsed = parse(text, name)
    problems.extend(parsed.problems)
    if not parsed.documents and not parsed.problems:
        problems.append(Problem(f"{name} holds no schema"))
    problems.extend(
        Problem("a file holds one schema", position=document.position())
        for document in parsed.documents[1:]
    )
    for document in parsed.documents[:1]:
        found = list(_misshapen(document))
        problems.extend(found)
        yield _File(name, document, whole=not found and not parsed.problems)


def _misshapen(document: Located) -> Iterator[Problem]:
    """Yield what JSON Schema finds, in our words and with places."""
    for error in sorted(_validator().iter_errors(document.value), key=lambda e: str(e.path)):
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            for key in sorted(set(error.instance) - set(error.schema["properties"])):
                here = (*path, key)
                hint = REFUSED_KEYS.get(key)
                message = f"key {key!r} is not supported" if hint else f"unknown key {key!r}"
                hint = hint or closest(key, error.schema["properties"])
                yield Problem(message, here, document.position(here, key=True), hint)
        elif error.validator == "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            text = f"{', '.join(missing)} is missing"
            if not path or path[-1] != "of":
                yield Problem(text, path, document.position(path, key=True))
        elif "propertyNames" in error.absolute_schema_path:
            here = (*path, str(error.instance))
            message = f"{error.instance!r} is no name of letters, digits and _"
            yield Problem(message, here, document.position(here, key=True))
        elif error.validator == "oneOf":
            yield Problem("of an unexpected form", path, document.position(path))
        else:
            yield Problem(error.message, path, document.position(path))


@cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(LANGUAGE)


class _File:
    """A schema file. Unless its shape is `whole`, only the names it defines count."""

    def __init__(self, name: str, document: Located, *, whole: bool) -> None:
        self.name = Path(name).name
        self.module = snake(Path(name).stem.replace(".", "_"))
        self.document = document
        self.whole = whole
        self.data: dict[str, Any] = document.value if isinstance(document.value, dict) else {}
        self.components = self._named("components")
        self.kinds = self._named("kinds")

    def _named(self, part: str) -> dict[str, Any]:
        value = self.data.get(part)
        return value if isinstance(value, dict) else {}


class _Compiler:
    """Gives every name its meaning, across files."""

    def __init__(self, files: Sequence[_File], problems: list[Problem]) -> None:
        self._files = files
        self._problems = problems
        self._kinds: dict[str, str] = {}
        self._classes: dict[str, str] = {}
        self._components: dict[str, Component] = {}

    def compile(self) -> tuple[Schema, ...]:
        """Return the schemas; what is wrong in them goes to the problems."""
        scopes = [self._scope(file) for file in self._files]
        pairs = list(zip(self._files, scopes, strict=True))
        for file, scope in pairs:
            self._name_kinds(file, scope)
        for file, scope in pairs:
            self._name_components(file, scope)
        whole = [(file, scope) for file, scope in pairs if file.whole]
        for file, scope in whole:
            self._compile_components(file, scope)
        schemas = [self._schema(file, scope) for file, scope in whole]
        for scope in scopes:
            for check in scope.later:
                check()
            self._problems.extend(scope.problems)
        if self._problems:
            return ()
        for (file, _), schema in zip(whole, schemas, strict=True):
            for path, message in (*clashes(schema, schemas), *circles(schema, schemas)):
                place = file.document.position(path, key=len(path) == 2)
                self._problems.append(Problem(message, path, place))
        return () if self._problems else tuple(in_order(each, schemas) for each in schemas)

    def _scope(self, file: _File) -> Scope:
        return Scope(file.document, file.module, self._kinds, self._classes, self._components)

    # -- names -----------------------------------------------------------------------------

    def _name_kinds(self, file: _File, scope: Scope) -> None:
        for name in file.kinds:
            class_name = pascal(name)
            if self._kinds.setdefault(class_name.lower(), class_name) is not class_name:
                scope.problem(("kinds", name), f"kind {class_name} is defined twice", key=True)

    def _name_components(self, file: _File, scope: Scope) -> None:
        taken = {
            f"{kind}{part}" for kind in self._kinds.values() for part in ("", "Spec", "Status")
        }
        for name in file.components:
            if name in self._classes:
                scope.problem(
                    ("components", name), f"component {name!r} is defined twice", key=True
                )
            class_name = pascal(name)
            self._classes[name] = f"{class_name}Component" if class_name in taken else class_name

    # -- components ------------------------------------------------------------------------

    def _compile_components(self, file: _File, scope: Scope) -> None:
        for name, written in file.components.items():
            path = ("components", name)
            class_name = self._classes[name]
            reader = AttributeReader(scope, class_name, is_kind=False)
            attributes = reader.read_all(written, path)
            options = written.get("$options") or {}
            shorthand = snake(options["shorthand"]) if "shorthand" in options else None
            reader.check_shorthand(shorthand, attributes, (*path, "$options", "shorthand"))
            component = Component(
                class_name, scope.module, attributes, options.get("doc", ""), shorthand, name
            )
            scope.add(component)

    # -- kinds -----------------------------------------------------------------------------

    def _schema(self, file: _File, scope: Scope) -> Schema:
        kinds = tuple(self._kind(scope, name, written) for name, written in file.kinds.items())
        return Schema(
            file=file.name,
            module=file.module,
            domain=file.data["domain"],
            version=file.data["version"],
            doc=file.data.get("doc", ""),
            aliases=tuple(file.data.get("aliases", ())),
            components=tuple(scope.made),
            kinds=kinds,
        )

    def _kind(self, scope: Scope, name: str, written: Mapping[str, Any]) -> Kind:
        path, class_name = ("kinds", name), pascal(name)
        options = written.get("$options") or {}
        reader = AttributeReader(scope, class_name, is_kind=True)
        attributes = self._included(scope, options, path)
        for attribute in reader.read_all(written, path):
            if any(known.name == attribute.name for known in attributes):
                message = f"{attribute.name!r} is in the included component already"
                scope.problem((*path, attribute.name), message, key=True)
            attributes = (*attributes, attribute)
        for attribute in attributes:
            self._check_attribute(scope, attribute, (*path, attribute.name))
        short = options.get("short", ())
        kind = Kind(
            name=class_name,
            written=name,
            module=scope.module,
            spec=tuple(known for known in attributes if not known.status),
            status=tuple(known for known in attributes if known.status),
            doc=options.get("doc", ""),
            plural=options.get("plural"),
            short=(short,) if isinstance(short, str) else tuple(short),
            scope=options.get("scope", "project"),
        )
        columns = options.get("printcolumns") or {}
        return replace(kind, columns=tuple(self._columns(scope, kind, columns, path)))

    def _included(
        self, scope: Scope, options: Mapping[str, Any], path: tuple[Step, ...]
    ) -> tuple[Attribute, ...]:
        """Return a component's attributes, read again so that their enums are the kind's own."""
        if "include" not in options:
            return ()
        name = options["include"]
        for file in self._files:
            if file.whole and name in file.components:
                # What is wrong with the component has been said where it is defined.
                quiet = replace(scope, document=file.document, problems=[], later=[])
                reader = AttributeReader(quiet, pascal(str(path[-1])), is_kind=True)
                return reader.read_all(file.components[name], ("components", name))
        hint = closest(name, self._classes)
        scope.problem((*path, "$options", "include"), f"unknown component {name!r}", hint=hint)
        return ()

    def _check_attribute(self, scope: Scope, attribute: Attribute, path: tuple[Step, ...]) -> None:
        if attribute.status and attribute.name in _RESERVED:
            message = f"{attribute.name!r} is reserved in every status"
            scope.problem(path, message, key=True)
        if attribute.of is not None and self._is_indexed(attribute.of):
            scope.problem(path, "nothing inside a map can be indexed", key=True)

    def _is_indexed(self, attribute: Attribute) -> bool:
        if attribute.indexed or attribute.component not in self._components:
            return attribute.indexed
        return any(map(self._is_indexed, self._components[attribute.component].attributes))

    def _columns(
        self, scope: Scope, kind: Kind, written: Mapping[str, str], path: tuple[Step, ...]
    ) -> Iterator[Column]:
        for title, dotted in written.items():
            steps = [camel(snake(step)) for step in dotted.split(".")]
            problem = self._lost(kind, steps)
            if problem is not None:
                here = (*path, "$options", "printcolumns", title)
                scope.problem(here, f"no {dotted!r} in {kind.name}", hint=problem)
            yield Column(title, ".".join(steps))

    def _lost(self, kind: Kind, steps: list[str]) -> str | None:
        """Return a hint when a column's path leads nowhere, None when it is right."""
        parts = {"spec": kind.spec, "status": kind.status}
        if steps[0] == "metadata" and len(steps) == 2:
            return None if steps[1] in _METADATA else "metadata: " + ", ".join(_METADATA)
        if steps[0] not in parts or len(steps) < 2:
            return "a path begins with spec., status. or metadata."
        attributes: Sequence[Attribute] = parts[steps[0]]
        for step in steps[1:]:
            known = {camel(attribute.name): attribute for attribute in attributes}
            if step not in known:
                return closest(step, known) or "it has " + ", ".join(known)
            component = self._components.get(known[step].component)
            attributes = component.attributes if component else ()
        return None
