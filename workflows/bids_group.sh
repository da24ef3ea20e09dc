#!/bin/sh
# Compute component maps of a BIDS folder on this machine: run the BIDS App with a settings file.
#   workflows/bids_group.sh BIDS_DIR CONFIG OUTPUT_DIR [option of opnmf-bids ...]
# OPNMF_BIDS sets another program, such as "apptainer run --bind /data opnmf-pipeline.sif".
set -eu
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
bids_dir=$1 config=$2 output_dir=$3
shift 3
# shellcheck disable=SC2086 # a program and its arguments
exec ${OPNMF_BIDS:-opnmf-bids} "$bids_dir" "$output_dir" group --config-file "$config" "$@"
