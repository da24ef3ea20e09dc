#!/usr/bin/env python3
"""OPNMF after your own Nipype nodes: smooth images with another package, then find components.

    python workflows/foreign_nipype.py OUTPUT_DIR IMAGE IMAGE ... --k 5 10 --fwhm 6

The smoothing uses FSL if it is installed, otherwise nilearn.
"""

import argparse
import shutil
from pathlib import Path

from nipype.interfaces import fsl
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import MapNode, Workflow

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.nipype import init_opnmf_wf


def smooth(in_file, fwhm):
    """Smooth one image with nilearn; Nipype runs the source of this function."""
    from pathlib import Path

    from nilearn.image import smooth_img

    out_file = Path("smoothed.nii.gz").resolve()
    smooth_img(in_file, fwhm).to_filename(out_file)
    return str(out_file)


def init_foreign_wf(images, ks, fwhm, output_dir):
    """Return the workflow."""
    if shutil.which("fslmaths"):
        smoothing, smoothed = fsl.IsotropicSmooth(fwhm=fwhm, output_type="NIFTI_GZ"), "out_file"
    else:
        smoothing, smoothed = Function(function=smooth), "out"
        smoothing.inputs.fwhm = fwhm
    ready = MapNode(smoothing, iterfield=["in_file"], name="smooth")
    ready.inputs.in_file = images
    # The workflow gets its images from a node, so `inputs` is required but not used
    settings = {"inputs": {"glob": "*"}, "decomposition": {"n_components": ks}}
    opnmf = init_opnmf_wf(PipelineConfig.model_validate(settings))
    opnmf.inputs.inputnode.participants = [f"sub-{number:03d}" for number in range(len(images))]
    workflow = Workflow("foreign", base_dir=str(output_dir))
    workflow.connect(ready, smoothed, opnmf, "inputnode.images")
    return workflow


def main():
    """Read the arguments and run."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("output_dir", type=Path, help="folder to work in")
    parser.add_argument("images", nargs="+", type=Path, help="one image per subject")
    parser.add_argument("--k", nargs="+", type=int, default=[5], help="numbers of components")
    parser.add_argument("--fwhm", type=float, default=6, help="smoothing, in mm")
    parser.add_argument("--nprocs", type=int, default=2, help="processes to use")
    args = parser.parse_args()
    images = [str(image.resolve()) for image in args.images]
    workflow = init_foreign_wf(images, args.k, args.fwhm, args.output_dir.resolve())
    workflow.run("MultiProc", plugin_args={"n_procs": args.nprocs})


if __name__ == "__main__":
    main()
