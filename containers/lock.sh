#!/bin/sh
# Write the locked versions with hashes. requirements.lock: dependencies of the package, with Dask. build.lock:
# dependencies of the build of its wheel. Run `make lock` after a change of pyproject.toml.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet uv
compile="$tools/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --only-binary :all:
    --upgrade --no-annotate --custom-compile-command containers/lock.sh"
$compile --extra dask pyproject.toml --output-file containers/requirements.lock
"$tools/bin/python" -c '
import pathlib, tomllib
print(*tomllib.loads(pathlib.Path("pyproject.toml").read_text())["build-system"]["requires"], sep="\n")
' | $compile - --output-file containers/build.lock
