#!/bin/sh
# Install this package with the exact versions of requirements.lock into a new virtual environment.
#   containers/install.sh ENVIRONMENT VERSION
# VERSION is that of the package, which git knows, but an image is built without git. Needs Python 3.11 with venv, and PyPI. If a proxy signs the traffic with its own certificate, the script
# reads its certificates from /run/secrets/ca_bundle.
set -eu
environment=$1
export SETUPTOOLS_SCM_PRETEND_VERSION_FOR_OPNMF_PIPELINE="$2"
containers=$(cd "$(dirname "$0")" && pwd)
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
if [ -r /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

python3 -m venv "$tools/venv"
python3 -m venv --without-pip "$environment"

pip() { # arguments: environment, list of requirements. Wheels need no compiler
    "$tools/venv/bin/pip" --python "$1/bin/python" install --quiet \
        --require-hashes --only-binary :all: --requirement "$containers/$2"
}
pip "$tools/venv" build.lock
pip "$environment" requirements.lock
"$tools/venv/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$tools" "$containers/.."
"$tools/venv/bin/pip" --python "$environment/bin/python" install --quiet --no-deps "$tools"/*.whl
"$tools/venv/bin/pip" --python "$environment/bin/python" check
