"""`SecretText`: whatever shows it shows the mask, unless asked in so many words."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from typing import Literal

import pytest
import yaml

from miren.base.errors import InvalidInput, MirenError, Refused
from miren.base.log import configure
from miren.entities.arguments import plain
from miren.entities.jsonschema import json_schema
from miren.entities.reading import read
from miren.entities.secrets import MASK, REVEALING, SecretText
from tests.entities.vaults import Account, Vault, VaultSpec, make_vault

TEXT = "correct horse"

SHOWN: dict[str, Callable[[SecretText], object]] = {
    "str": str,
    "repr": repr,
    "format": lambda secret: f"{secret} {secret!r} {secret:>40}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "list": lambda secret: str([secret]),
    "pickle": lambda secret: pickle.dumps(secret),
    "model": lambda secret: str(Account(pass_word=secret)),
    "dump": lambda secret: str(Account(pass_word=secret).model_dump()),
    "json": lambda secret: Account(pass_word=secret).model_dump_json(),
    "document": lambda secret: str(make_vault(data={"a": secret}).to_document()),
    "entity": lambda secret: repr(make_vault(words=[secret], main={"pass_word": secret})),
    "partial": lambda secret: repr(Vault.partial("v", data={"a": secret})),
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_nothing_shows_a_secret(show: Callable[[SecretText], object]) -> None:
    shown = show(SecretText(TEXT))
    assert TEXT not in str(shown)
    assert TEXT.encode() not in pickle.dumps(shown)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_log_shows_a_secret(
    form: Literal["text", "json"], capfd: pytest.CaptureFixture[str]
) -> None:
    log, root = logging.getLogger("secrets"), logging.getLogger()
    before = root.handlers[:], root.level
    try:
        configure("info", form)
        log.warning("made %s", SecretText(TEXT), extra={"secret": SecretText(TEXT)})
    finally:
        root.handlers[:], level = before[0], before[1]
        root.setLevel(level)
    told = "".join(capfd.readouterr())
    assert MASK in told
    assert TEXT not in told


def test_it_is_revealed_on_request() -> None:
    assert SecretText(TEXT).reveal() == TEXT
    dumped = Account(pass_word=SecretText(TEXT)).model_dump(mode="json", context=REVEALING)
    assert dumped["passWord"] == TEXT


def test_what_was_masked_cannot_be_revealed() -> None:
    masked = SecretText(MASK)
    assert masked.is_masked
    with pytest.raises(Refused) as caught:
        masked.reveal()
    assert caught.value.hint
    assert masked.in_clear() == MASK


def test_secrets_are_equal_by_text_and_have_no_order() -> None:
    assert SecretText("a") == SecretText("a") != SecretText("b")
    assert SecretText("a") != "a"
    assert hash(SecretText("a")) == hash(SecretText("a")) != hash("a")
    assert len({SecretText("ä"), SecretText("ä"), SecretText("b")}) == 2
    with pytest.raises(TypeError):
        SecretText("a") < SecretText("b")  # type: ignore[operator]  # noqa: B015


def test_a_secret_cannot_be_changed() -> None:
    secret = SecretText("a")
    with pytest.raises(AttributeError):
        secret._text = "b"
    with pytest.raises(AttributeError):
        del secret._text
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    with pytest.raises(TypeError, match="not from int"):
        SecretText(5)  # type: ignore[arg-type]


def test_the_mask_is_one_text_in_yaml_with_and_without_quotes() -> None:
    assert yaml.safe_load(f"a: {MASK}\nb: '{MASK}'\nc: [{MASK}]") == {
        "a": MASK,
        "b": MASK,
        "c": [MASK],
    }


def test_new_takes_texts_and_secrets_alike() -> None:
    made = make_vault(
        data={"a": "1", "b": SecretText("2")},
        words=["3", SecretText("4")],
        main=Account(pass_word=SecretText("5")),
        pin=SecretText("1234"),
    )
    assert made.spec.data["b"].reveal() == "2"
    assert [word.reveal() for word in made.spec.words] == ["3", "4"]
    assert made.spec.main is not None
    assert made.spec.main.pass_word.reveal() == "5"
    assert plain(SecretText(MASK)) == MASK


LEAKY = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"pin": LEAKY}, "spec.pin: holds more than 8"),
        ({"pin": "hun"}, "spec.pin: needs at least 4"),
        ({"pin": "hunter"}, "spec.pin: must match [0-9]+"),
        ({"codes": ["hunter2"]}, "spec.codes[0]: must match [a-z]+"),
        ({"pin": {"hunter2": "hunter2"}}, "spec.pin: must be a valid string"),
        ({"main": {"passWord": ["hunter2"]}}, "spec.main.passWord: must be a valid string"),
        ({"data": {"a": 5}}, "spec.data.a: must be a valid string"),
        ({"data": "hunter2"}, "spec.data: must be a mapping"),
        ({"accounts": ["hunter2"]}, "spec.accounts[0]: must be a mapping"),
    ],
)
def test_what_is_wrong_with_a_secret_is_told_without_it(
    spec: dict[str, object], told: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(VaultSpec, spec, path=("spec",))
    error: BaseException | None = caught.value
    assert told in str(error)
    while error is not None:
        assert "hunter2" not in str(error) + repr(error)
        error = error.__cause__ or error.__context__


def test_the_mask_passes_every_bound() -> None:
    assert read(VaultSpec, {"pin": MASK, "codes": [MASK]}).pin == SecretText(MASK)


def test_the_json_schema_says_that_it_is_only_written() -> None:
    spec = json_schema(Vault.kind)["properties"]["spec"]["properties"]
    assert spec["data"]["additionalProperties"] == {"type": "string", "writeOnly": True}


def test_errors_about_masks_are_errors_of_ours() -> None:
    with pytest.raises(MirenError):
        make_vault(data={"a": MASK}).spec.data["a"].reveal()
