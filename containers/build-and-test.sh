#!/usr/bin/env bash
# Build the images and run the example in them: no network, read-only, an ordinary user without a home
# folder. The maps must be byte-identical to those of the same versions outside a container.
#   containers/build-and-test.sh WORK_DIR [native] [oci] [apptainer]
# Steps whose tools are not installed are skipped with a message. Environment:
#   BASE             base image (default: that of the Dockerfile, otherwise created with debootstrap)
#   CA_BUNDLE        certificates of a proxy that signs with its own certificate
#   OPNMF_APPTAINER  command that runs Apptainer in the current folder (default: apptainer)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -ge 1 ] || { sed -n '2,9s/^# \?//p' "$0" >&2; exit 2; }
mkdir -p "$1" && cd "$1"
shift
read -ra apptainer <<<"${OPNMF_APPTAINER:-apptainer}"
image=localhost/opnmf-pipeline
# A tagged commit is a release; the others have the version in the recipes
version=$(git -C "$root" describe --tags --exact-match 2>/dev/null || sed -n 's/^ARG VERSION=/v/p' "$root/containers/Dockerfile")
version=${version#v}
labels=(--build-arg "REVISION=$(git -C "$root" rev-parse HEAD)" --build-arg "VERSION=$version")
example=(--quiet --nprocs 2 --output)

skip() { echo "skipped: $*"; exit 0; } # ends the step, since each step is a subshell

# Compare the maps and tables of the example with those of the first completed step. Sidecars are not
# compared, since they contain the version of Python.
compare() {
    (cd "$1/example/group" && sha256sum -- *.nii.gz *.tsv) >"$1.sha256"
    if [ ! -e reference.sha256 ]; then
        cp "$1.sha256" reference.sha256
        echo "$1: $(wc -l <reference.sha256) files, to compare with"
    else
        diff reference.sha256 "$1.sha256"
        echo "$1: $(wc -l <reference.sha256) files equal, byte for byte"
    fi
}

folder() { rm -rf "$1"; mkdir -m 777 "$1"; } # a user with any ID can write there

# Run the example. Then run the BIDS App with each engine on the simulated cohort of the example.
examine() { # a function that runs a command in the container, with this folder at /out
    local name=$1 by
    "in_$name" opnmf-pipeline run /opt/opnmf/share/example.yaml "${example[@]}" /out/example
    compare "$name"
    for by in local nipype pydra; do
        # shellcheck disable=SC2016 # the pattern is for the shell in the container
        "in_$name" sh -c 'exec opnmf-bids /out/example/work/*/simulate-* "$@"' sh "/out/$by" group \
            --quiet --nprocs 2 --set "execution.engine=$by" --set decomposition.n_components=8 \
            --set mask.threshold=0.1 --set "inputs.filters={label: GM, suffix: probseg}"
        for file in "$name/example"/group/*_desc-opnmfK8_*.nii.gz; do
            cmp "$file" "$name/$by/group/${file##*/}"
        done
        echo "$name: opnmf-bids, $by engine: equal maps"
    done
    echo "$name: start-up $(start_up "in_$name" opnmf-bids --version) s"
}

start_up() { # the fastest of five
    local TIMEFORMAT=%R
    for _ in 1 2 3 4 5; do { time "$@" >/dev/null 2>&1; } 2>&1; done | sort -n | head -n 1
}

test_native() (
    python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
        skip "native: requirements.lock is for Python 3.11, but python3 is another version"
    rm -rf native-env reference.sha256
    "$root/containers/install.sh" native-env "$version"
    folder native
    # A container does not inherit a choice of OpenBLAS kernels from this shell; sums depend on it
    env --unset OPENBLAS_CORETYPE OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
        native-env/bin/opnmf-pipeline run "$root/configs/example.yaml" "${example[@]}" native/example
    compare native
)

# Find Docker or Podman. A root user in a container without systemd may have both versions of control
# groups, and Podman does not run then. In this case, Podman gets version 2 in its own mount namespace.
find_engine() {
    runtime=()
    if docker info >/dev/null 2>&1; then
        engine=(docker)
        return
    fi
    command -v podman >/dev/null || return 1
    engine=(podman --root "$PWD/store" --runroot "$PWD/store/run")
    if [ "$(id -u)" = 0 ] && [ -d /sys/fs/cgroup/unified ]; then
        engine=(unshare --mount sh -c 'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh
            "${engine[@]}" --cgroup-manager cgroupfs)
        runtime=(--cgroups disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024)
    fi
}

find_base() {
    base=${BASE:-docker.io/library/debian:bookworm-slim}
    "${engine[@]}" image inspect "$base" >/dev/null 2>&1 && return
    "${engine[@]}" pull --quiet "$base" >/dev/null 2>&1 && return
    base=localhost/debian:bookworm # made here
    "${engine[@]}" image inspect "$base" >/dev/null 2>&1 && return
    command -v debootstrap >/dev/null && [ "$(id -u)" = 0 ] || return 1
    debootstrap --variant=minbase bookworm debian >debootstrap.log || return 1
    rm -rf debian/var/cache/apt/archives/*.deb debian/var/lib/apt/lists/* debian/usr/share/doc/*
    tar -C debian -c . | "${engine[@]}" import - "$base" >/dev/null 2>&1
}

in_oci() {
    "${engine[@]}" run --rm "${runtime[@]}" --network none --read-only --user 54321:54321 --tmpfs /tmp \
        --env HOME=/nonexistent --volume "$PWD/oci:/out" --entrypoint "$1" "$image" "${@:2}"
}

in_apptainer() {
    "${apptainer[@]}" exec --containall --no-home --net --network none --bind apptainer:/out \
        opnmf-pipeline.sif "$@"
}

test_oci() (
    find_engine || skip "oci: no Docker engine responds, and podman is not installed"
    find_base || skip "oci: the base image cannot be downloaded; its creation needs debootstrap and root"
    build=("${labels[@]}" --build-arg "BASE=$base")
    [ "${engine[0]}" = docker ] || build+=(--isolation chroot)
    [ -z "${CA_BUNDLE:-}" ] || build+=(--secret "id=ca_bundle,src=$CA_BUNDLE")
    "${engine[@]}" build "${build[@]}" --file "$root/containers/Dockerfile" --tag "$image" "$root" >oci.log 2>&1 ||
        { tail -n 40 oci.log >&2; exit 1; }
    "${engine[@]}" save "$base" >base.tar
    echo "oci: from $base, $("${engine[@]}" save "$image" | gzip | wc -c | awk '{printf "%.0f", $1 / 1e6}') MB compressed"
    folder oci
    examine oci
)

test_apptainer() (
    "${apptainer[@]}" --version >/dev/null 2>&1 || skip "apptainer: '${apptainer[*]}' does not run here"
    build=("${labels[@]}")
    # Use the base image of the step before, if there is one
    [ ! -e base.tar ] || build+=(--build-arg BOOTSTRAP=docker-archive --build-arg BASE=base.tar)
    if [ -n "${CA_BUNDLE:-}" ]; then
        cp "$CA_BUNDLE" ca_bundle
        build+=(--build-arg CA_BUNDLE=ca_bundle)
    fi
    # Apptainer reads %files from the current folder
    tar -C "$root" --exclude __pycache__ -c LICENSE README.md pyproject.toml configs containers \
        opnmf_pipeline pydra | tar -x
    "${apptainer[@]}" build --force "${build[@]}" opnmf-pipeline.sif containers/opnmf-pipeline.def \
        >apptainer.log 2>&1 || { tail -n 40 apptainer.log >&2; exit 1; }
    echo "apptainer: $(stat --format %s opnmf-pipeline.sif | awk '{printf "%.0f", $1 / 1e6}') MB"
    folder apptainer
    examine apptainer
)

[ $# -gt 0 ] || set -- native oci apptainer
for step in "$@"; do
    case $step in
    native | oci | apptainer) "test_$step" ;;
    *) echo "$step: unknown step; the steps are native, oci and apptainer" >&2; exit 2 ;;
    esac
done
