"""One kind in one version: its names, where they are unique, its models, and what it converts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from miren.entities.conversions import Converter

if TYPE_CHECKING:
    from miren.entities.entity import Entity
    from miren.entities.model import Model

__all__ = ["Column", "Kind", "Scope"]


class Scope(StrEnum):
    """Where names of a kind are unique."""

    PROJECT = "project"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `miren get`: a heading and the dotted camelCase path it shows."""

    title: str
    path: str


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind's names and models. One object per kind and version; compared by identity."""

    domain: str
    version: str
    name: str
    plural: str
    short: tuple[str, ...]
    scope: Scope
    columns: tuple[Column, ...]
    doc: str
    entity: type[Entity[Model, Model]]
    spec: type[Model]
    status: type[Model]
    aliases: tuple[str, ...] = ()  # older `<domain>` or `<domain>/<version>`, read on input only
    converts: Mapping[str, Converter] = field(default_factory=dict)  # older version -> this one

    @property
    def api_version(self) -> str:
        """`<domain>/<version>`, as documents carry it."""
        return f"{self.domain}/{self.version}"

    @property
    def singular(self) -> str:
        """The lower-case name: `sandbox`, `appversion`."""
        return self.name.lower()

    def __str__(self) -> str:
        return f"{self.singular}.{self.domain}"

    def words(self) -> tuple[str, ...]:
        """Return every word that means this kind on a command line."""
        return (self.singular, self.plural, *self.short)

    def is_in(self, api: str) -> bool:
        """Return whether `api`, `<domain>/<version>` or a domain, is this kind's or was once."""
        domain, _, version = api.partition("/")
        for known in (self.api_version, *self.aliases):
            known_domain, _, known_version = known.partition("/")
            if domain == known_domain and version in ("", known_version or self.version):
                return True
        return False
