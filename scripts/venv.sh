#!/bin/sh
# Make .venv with exactly what requirements.lock says, and this project itself.
set -eu

usable() {
	"$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		>/dev/null 2>&1
}

python=
for candidate in ${PYTHON:-} python3 /usr/bin/python3 python3.11 python3.12 python3.13; do
	if usable "$candidate"; then
		python=$candidate
		break
	fi
done
if [ -z "$python" ]; then
	echo "miren: needs Python 3.11 to 3.13 with venv (on Debian: python3-venv)" >&2
	exit 1
fi

fail() {
	echo "miren: the packages of requirements.lock could not be installed into .venv" >&2
	exit 1
}

rm -rf .venv
if command -v uv >/dev/null 2>&1; then
	uv venv --quiet --seed --python "$("$python" -c 'import sys; print(sys.executable)')" .venv ||
		fail
	export VIRTUAL_ENV=.venv
	uv pip install --quiet --require-hashes -r requirements.lock || fail
	uv pip install --quiet --no-deps --no-build-isolation -e . || fail
else
	"$python" -m venv .venv || fail
	.venv/bin/pip install --quiet --require-hashes -r requirements.lock || fail
	.venv/bin/pip install --quiet --no-deps --no-build-isolation -e . || fail
fi
