#!/usr/bin/env bash
# Builds the sdist, and the wheel from the sdist. Installs the wheel in a new environment, and uses it
# in a folder outside the checkout, as somebody would who has no checkout.
# Usage: scripts/check_dist.sh PYTHON_WITH_BUILD FOLDER
set -euo pipefail
python=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
checkout=$(cd "$(dirname "$0")/.." && pwd)

rm -rf "$folder"/*
"$python" -m build --outdir "$folder" "$checkout"
"$python" -m twine check --strict "$folder"/opnmf_pipeline-*

"$python" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet "$folder"/*.whl
packages=$("$folder/env/bin/python" -m pip list --format=freeze | grep -Evc '^(pip|setuptools|opnmf-pipeline)==')
size=$(du -sm "$folder"/env/lib/python*/site-packages | cut -f1)
echo "installs $packages packages, $size MB with pip"

mkdir "$folder/elsewhere" && cd "$folder/elsewhere"
export PATH="$folder/env/bin:$PATH"
cp "$checkout/configs/example.yaml" .
opnmf-pipeline --version
opnmf-bids --version
opnmf-pipeline run example.yaml --output out
test -s out/report.html
python - <<'END'
from importlib.metadata import files
from pathlib import Path

import opnmf_pipeline
from pydra.tasks.opnmf import CollectCohort

assert "site-packages" in opnmf_pipeline.__file__, opnmf_pipeline.__file__
names = {Path(file).name for file in files("opnmf-pipeline")}
assert {"py.typed", "niivue.umd.js", "LICENSE"} <= names, "the wheel lacks a file"
END
echo "the wheel works without the checkout"
