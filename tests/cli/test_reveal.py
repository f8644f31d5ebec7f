"""What people see of secrets: masks, unless they ask for one entity with --reveal."""

from __future__ import annotations

import json

import pytest
import yaml

from miren.entities.secrets import MASK
from tests.servers import Server, wait_until

TEXT = "hunter2-s3cret"
FILE = f"""
apiVersion: miren.dev/v1alpha1
kind: Secret
metadata: {{name: shown}}
spec:
  data:
    url: {TEXT}
    empty: ""
"""


@pytest.fixture(scope="module")
def server(lone_server: Server) -> Server:
    made = lone_server.cli("apply", "-f", "-", stdin=FILE)
    assert made.code == 0, made.err
    return lone_server


@pytest.mark.parametrize(
    "words",
    [
        "get secrets",
        "get secret/shown",
        "get secret/shown -o yaml",
        "get secrets -o json",
        "get secrets -A -o yaml",
        "describe secret shown",
        "wait secret/shown --for condition=Ready --timeout 0.1",
    ],
)
def test_no_output_shows_a_secret(server: Server, words: str) -> None:
    done = server.cli(*words.split())
    assert TEXT not in done.out + done.err
    assert MASK in done.out or "-o" not in words


def test_a_watch_shows_no_secret(server: Server) -> None:
    watch = server.popen("get", "secret/shown", "--watch", "-o", "json")
    try:
        assert watch.stdout is not None
        line = watch.stdout.readline()
    finally:
        watch.terminate()
        rest = "".join(watch.communicate(timeout=20))
    assert json.loads(line)["entity"]["spec"]["data"]["url"] == MASK
    assert TEXT not in line + rest


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_reveal_shows_the_secrets_of_a_named_entity(server: Server, form: str) -> None:
    done = server.cli("get", "secret/shown", "-o", form, "--reveal")
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out)["spec"]["data"] == {"url": TEXT, "empty": ""}
    assert "secrets were revealed" in server.log
    assert "secret/shown" in server.log
    assert TEXT not in server.log


@pytest.mark.parametrize(
    "words",
    [
        "get secrets --reveal -o yaml",
        "get secret/shown --reveal",
        "get secret/shown -o yaml --reveal --watch",
        "get secret/shown -o name --reveal",
    ],
)
def test_reveal_is_for_named_entities_shown_whole(server: Server, words: str) -> None:
    done = server.cli(*words.split())
    assert done.code == 2
    assert "--reveal shows named entities" in done.err
    assert TEXT not in done.out + done.err


def test_what_get_shows_can_be_applied_again(server: Server) -> None:
    shown = server.cli("get", "secret/shown", "-o", "yaml").out
    assert MASK in shown
    document = yaml.safe_load(shown)
    again = yaml.safe_dump({key: document[key] for key in ("apiVersion", "kind", "spec")})
    again += "metadata: {name: shown}\n"
    done = server.cli("apply", "-f", "-", stdin=again)
    assert (done.code, "unchanged" in done.out) == (0, True), done
    new = again.replace("shown", "other")
    refused = server.cli("apply", "-f", "-", stdin=new)
    assert refused.code != 0
    assert "nothing is stored here" in refused.err
    assert "write the secret itself" in refused.err


def test_a_changed_secret_is_told_as_configured(server: Server) -> None:
    named = FILE.replace("shown", "changing")
    assert server.cli("apply", "-f", "-", stdin=named).code == 0
    done = server.cli("apply", "-f", "-", stdin=named.replace(TEXT, "another"))
    assert "configured" in done.out


def test_what_is_wrong_with_a_file_is_told_without_the_server_hearing_of_it(
    server: Server,
) -> None:
    wrong = FILE.replace(f"url: {TEXT}", f"url: [{TEXT}]").replace("shown", "wrong")
    done = server.cli("apply", "-f", "-", stdin=wrong)
    assert done.code == 2
    assert "must be a valid string (at spec.data.url)" in done.err
    assert TEXT not in server.log


def test_the_key_is_rotated_while_the_server_runs(server: Server) -> None:
    first = server.cli("server", "rotate-key")
    assert first.code == 0, first.err
    assert "primary key" in first.out
    assert server.cli("get", "secret/shown", "-o", "yaml", "--reveal").code == 0
    told = server.cli("server", "--drop")
    assert (told.code, "--drop goes with rotate-key" in told.err) == (2, True)


def test_a_sandbox_takes_a_secret_into_its_environment_and_shows_it_to_nobody(
    server: Server,
) -> None:
    applied = server.cli("apply", "-f", "-", stdin=SANDBOX)
    assert applied.code == 0, applied.err
    length = f"it has {len(TEXT)} letters"
    wait_until(lambda: length in server.cli("logs", "taker").out, told="no output")
    shown = server.cli("get", "sandbox/taker", "-o", "yaml").out
    assert "secret: shown/url" in shown
    assert TEXT not in shown + server.cli("describe", "sandbox/taker").out + server.log
    assert "node:" in server.log


SANDBOX = """
kind: Sandbox
metadata: {name: taker}
spec:
  gracePeriod: 100ms
  containers:
    - image: hello
      command: [sh, -c, 'echo "it has ${#URL} letters"; exec sleep 1000']
      env: {URL: {secret: shown/url}}
"""
