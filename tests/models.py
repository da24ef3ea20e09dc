"""Models of a tiny cohort, as another lab could send them."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig
from opnmf_pipeline.dataset.model import ModelFile, adjustment_files
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.spaces import open_mask
from tests.builders import three_parts, write_cohort, write_image

PLAIN = MatrixConfig()


class Fitted:
    """Fits of a tiny cohort, and a function that writes their models."""

    def __init__(self, root, options=PLAIN):
        self.root = root
        self.cohort = write_cohort(root / "dataset", three_parts())
        images, subjects = self.cohort.images, self.cohort.subjects
        self.mask = make_mask(images, root / "mask.nii.gz", MaskConfig(), options)
        matrix = build_matrix(images, subjects, self.mask, root, options)
        self.fits = {}
        for k in (2, 3):
            (root / f"{k}").mkdir()
            fit = DecompositionConfig(max_iter=50, tol=1e-4)
            self.fits[k] = decompose(matrix, root / f"{k}", k, fit)

    def write(self, folder, k=3, **changes):
        return write_model(folder, self.fits[k], self.mask, **changes)


def write_model(folder, fit_file, mask_file, name="model.json", adjustment=None, **changes):
    """Write the model of a fit; None removes a key."""
    folder.mkdir(parents=True, exist_ok=True)
    fit = read_factorization(fit_file)
    k = fit.W.shape[1]
    maps = folder / f"k{k}.nii.gz"
    open_mask(mask_file).write(np.asarray(fit.W, dtype=np.float32), maps)
    shutil.copyfile(mask_file, folder / "mask.nii.gz")
    files = [maps, folder / "mask.nii.gz"]
    if adjustment is not None:
        files += [Path(shutil.copy(path, folder)) for path in adjustment_files(adjustment)]
        changes["Adjustment"] = adjustment.name
    content = {
        "Format": 1,
        "GeneratedBy": [{"Name": "opnmf-pipeline", "Version": "9.0"}],
        "NumberOfComponents": k,
        "Components": maps.name,
        "Mask": "mask.nii.gz",
        "SHA256": {path.name: sha256(path.read_bytes()).hexdigest() for path in files},
        "Preprocessing": fit.info["Preprocessing"],
        "Shift": fit.info["Shift"],
        "Labels": ["left", *[None] * (k - 1)],
        "Entities": {"space": "MNI152", "label": "GM", "suffix": "probseg"},
        "TrainingErrors": sorted(fit.info["RelativeErrors"]),
        "TrainingNorms": fit.info["NormExtent"],
    } | changes
    content = {key: value for key, value in content.items() if value is not None}
    (folder / name).write_text(json.dumps(content))
    return folder


def write_parts(folder, labels, affine, name="model.json", adjustment=None, **changes):
    """Write a model whose components are the parts of a label map, which 0 does not belong to."""
    folder.mkdir(parents=True, exist_ok=True)
    k = int(labels.max())
    weights = np.equal.outer(labels, np.arange(1, k + 1)).astype(np.float32)
    maps = write_image(folder / f"k{k}.nii.gz", weights, affine)
    mask = write_image(folder / f"mask{k}.nii.gz", (labels > 0).astype(np.uint8), affine)
    content = {
        "NumberOfComponents": k,
        "Components": maps.name,
        "Mask": mask.name,
        "SHA256": {path.name: sha256(path.read_bytes()).hexdigest() for path in (maps, mask)},
        "Preprocessing": {},
    } | changes
    (folder / name).write_text(ModelFile(**content).text())
    return folder
