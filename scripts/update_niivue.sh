#!/usr/bin/env bash
# Bring the NiiVue that reports embed to another release, from the npm registry:
#   scripts/update_niivue.sh 0.69.0
# Needs npm. Afterwards run `pytest tests/reporting`, look at a report, and commit what changed.
set -euo pipefail
version=${1:?which release of @niivue/niivue, such as 0.69.0?}
target=$(cd "$(dirname "$0")/.." && pwd)/opnmf_pipeline/reporting/niivue
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --omit=dev "@niivue/niivue@$version"
cp node_modules/@niivue/niivue/dist/niivue.umd.js "$target/niivue.umd.js"

# The licences of what the build bundles; that of NiiVue itself is not in its package and stands in
# LICENSE.
{
    echo "niivue.umd.js of @niivue/niivue $version bundles these packages."
    for package in @lukeed/uuid @ungap/structured-clone @zarrita/storage array-equal fflate \
        gl-matrix nifti-reader-js numcodecs zarrita; do
        [ -d "node_modules/$package" ] || { echo "no $package in this release" >&2; exit 1; }
        printf '\n==== %s %s (%s)\n\n' "$package" \
            "$(node -p "require('./node_modules/$package/package.json').version")" \
            "$(node -p "require('./node_modules/$package/package.json').license")"
        find "node_modules/$package" -maxdepth 1 -iname 'licen[cs]e*' -exec cat {} +
    done
} > "$target/BUNDLED_LICENSES.txt"

cat > "$target/README.md" <<EOF
# NiiVue

\`niivue.umd.js\` is the file of that name in the npm package \`@niivue/niivue\` $version
(<https://github.com/niivue/niivue>, BSD-2-Clause, see \`LICENSE\`), unchanged; what it bundles is
listed in \`BUNDLED_LICENSES.txt\`. Reports embed it, so that they need no network.
Another release: \`scripts/update_niivue.sh VERSION\`.

SHA-256: \`$(sha256sum "$target/niivue.umd.js" | cut -d' ' -f1)\`
EOF
