import json
import os
from pathlib import Path

import attrs
import cloudpickle
import pandas as pd
import pytest
from fileformats.application import Json
from fileformats.generic import Directory, File
from fileformats.image import Png
from fileformats.text import Tsv
from pydra.compose import workflow
from pydra.utils.general import get_fields

from opnmf_pipeline.nodes import nipype as interfaces
from opnmf_pipeline.nodes import pydra as tasks
from opnmf_pipeline.nodes.options import options_of
from tests.models import write_model
from tests.nodes.battery import ELSEWHERE, K, content, settings_of
from tests.nodes.test_nipype import names

pytestmark = pytest.mark.filterwarnings(
    "ignore::opnmf_pipeline.exceptions.ConvergenceWarning", "ignore:Too many cuts"
)

NAMES = tasks.__all__


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PYDRA_HASH_CACHE", str(tmp_path / "hashes"))
    return tmp_path / "cache"


def task(battery, name, **changes):
    return getattr(tasks, name)(**(battery[name].inputs | changes))


def values(outputs):
    found = attrs.asdict(outputs, recurse=False)
    return {name: value for name, value in found.items() if not name.startswith("_")}


def fields(name):
    found = {field.name: field for field in get_fields(getattr(tasks, name))}
    del found["function"]
    return found


def test_both_engines_have_the_same_nodes():
    assert set(NAMES) == set(interfaces.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_writes_what_its_function_writes(battery, name, cache, in_folder):
    expected = battery[name].outputs
    outputs = values(task(battery, name)(cache_root=cache))
    assert set(outputs) == set(expected)
    for output, value in outputs.items():
        written = [str(one) for one in value] if isinstance(value, list) else str(value)
        assert content(written) == content(expected[output]), output
    assert list(in_folder.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_those_of_the_settings(battery, name):
    found = fields(name)
    for field, (section, setting) in settings_of(battery[name]).items():
        (option,) = [one for one in options_of(section) if one.name == setting]
        assert found[field].help == option.description, field
        assert set(found[field].allowed_values or ()) == set(option.choices), field
        default = found[field].default
        assert (default.factory() if isinstance(default, attrs.Factory) else default) == (
            option.default
        ), field
    assert set(found) <= set(settings_of(battery[name])) | set(battery[name].inputs) | ELSEWHERE


@pytest.mark.parametrize("name", NAMES)
def test_both_engines_take_and_give_the_same(name):
    interface = getattr(interfaces, name)
    assert set(fields(name)) == names(interface.input_spec()) - {"num_threads"}
    given = {field.name for field in get_fields(getattr(tasks, name).Outputs)}
    assert given == names(interface.output_spec())


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_described(name):
    given = get_fields(getattr(tasks, name).Outputs)
    for field in [*fields(name).values(), *given]:
        assert field.help, f"{name}.{field.name}"


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("CollectCohort", {"cohort_file": Tsv}),
        ("MakeMask", {"mask_file": File}),
        ("BuildMatrix", {"matrix_dir": Directory}),
        ("Decompose", {"factorization_dir": Directory}),
        (
            "WriteMaps",
            {"maps_dir": Directory, "components_file": File, "labels_table": Tsv},
        ),
        ("DrawFigures", {"components_figure": Png}),
        ("SelectRank", {"metrics_file": Tsv, "metrics_json": Json}),
    ],
)
def test_outputs_are_typed(battery, name, types, cache):
    outputs = task(battery, name)(cache_root=cache)
    for field, kind in types.items():
        assert type(getattr(outputs, field)) is kind, field


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("MakeMask", {"method": "median"}),
        ("MakeMask", {"threshold": "high"}),
        ("MakeMask", {"images": ["/nowhere/image.nii.gz"]}),
        ("BuildMatrix", {"mask_file": "/nowhere/mask.nii.gz"}),
        ("Decompose", {"init": "nndsdv"}),
        ("Decompose", {"n_components": "three"}),
        ("FitHalves", {"split_file": "/nowhere/split-001.json"}),
        ("SelectRank", {"rule": "elbow"}),
    ],
)
def test_impossible_values_are_refused_before_anything_runs(battery, name, change, cache):
    with pytest.raises((ValueError, TypeError, FileNotFoundError)):
        task(battery, name, **change)(cache_root=cache)
    assert not list(cache.glob("*/_result.pklz"))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("MakeMask", {"threshold": 99.0}, "threshold"),
        ("MakeMask", {"coverage": 1.5}, "coverage"),
        ("Decompose", {"n_components": 9}, "9"),
        ("BuildMatrix", {"participants": ["sub-01"]}, "1"),
    ],
)
def test_the_error_of_a_stage_comes_through(battery, name, change, message, cache):
    with pytest.raises(Exception, match=message):  # that of the stage, as `debug` re-raises it
        task(battery, name, **change)(cache_root=cache)


def test_a_dataset_is_hashed_by_its_name():
    # as a Directory, all of its files would be read to hash it
    for name in ("bids", "database_dir"):
        assert fields("CollectCohort")[name].type == str | None


def test_one_source_of_a_cohort(battery):
    with pytest.raises(ValueError, match="glob"):
        task(battery, "CollectCohort", glob="*.nii.gz")._check_rules()


@pytest.mark.parametrize("name", NAMES)
def test_tasks_pickle(battery, name):
    built = task(battery, name)
    assert cloudpickle.loads(cloudpickle.dumps(built))._checksum == built._checksum


@workflow.define
def Fits(matrix_dir: Directory, ks: list[int], settings: dict) -> list[Directory]:
    fit = workflow.add(
        tasks.Decompose(matrix_dir=matrix_dir, **settings)
        .split(n_components=ks)
        .combine("n_components")
    )
    return fit.factorization_dir


@pytest.mark.parametrize("worker", ["debug", "cf"])
def test_split_and_combine(battery, cache, worker):
    settings = dict(battery["Decompose"].inputs)
    matrix_dir, _ = settings.pop("matrix_dir"), settings.pop("n_components")
    outputs = Fits(matrix_dir=matrix_dir, ks=[2, K], settings=settings)(
        cache_root=cache, worker=worker
    )
    folders = [Path(folder) for folder in outputs.out]
    found = [json.loads((folder / "factorization.json").read_text()) for folder in folders]
    assert [info["NumberOfComponents"] for info in found] == [2, K]
    assert content(folders[1]) == content(battery["Decompose"].outputs["factorization_dir"])


@pytest.mark.parametrize("name", ["MakeMask", "WriteMaps"])
def test_files_go_to_another_process_and_keep_their_hash(battery, name, cache):
    """Under cloudpickle 3.1.3 these jobs end with "Input field hashes have changed"."""
    outputs = values(task(battery, name)(cache_root=cache, worker="cf", n_procs=1))
    for output, value in outputs.items():
        written = [str(one) for one in value] if isinstance(value, list) else str(value)
        assert content(written) == content(battery[name].outputs[output]), output


def test_a_result_is_found_by_content(battery, cache, tmp_path):
    """Touched images are the same images; a changed one is not."""
    copies = []
    for number, image in enumerate(battery["MakeMask"].inputs["images"]):
        copies.append(tmp_path / f"{number}.nii.gz")
        copies[-1].write_bytes(Path(image).read_bytes())

    def computed():
        task(battery, "MakeMask", images=copies)(cache_root=cache)
        return {path: path.stat().st_mtime_ns for path in cache.glob("*/_result.pklz")}

    first = computed()
    assert len(first) == 1
    os.utime(copies[0], (1, 1))
    assert computed() == first
    copies[0].write_bytes(copies[1].read_bytes())
    assert len(computed()) == 2


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("MakeMask", "images"),
        ("BuildMatrix", "mask_file"),
        ("MakeReport", "components_files"),
        ("SelectRank", "planted"),
    ],
)
def test_images_may_be_of_any_format(name, field, tmp_path):
    surface = tmp_path / "thickness.func.gii"
    surface.write_bytes(b"0")
    many = name in ("MakeMask", "MakeReport")
    task = getattr(tasks, name)(**{field: [surface] if many else surface})
    assert Path(getattr(task, field)[0] if many else getattr(task, field)) == surface


def test_a_model_in_place_of_a_fit(battery, tmp_path, cache):
    given = dict(battery["ProjectSubjects"].inputs)
    fit = Path(given.pop("factorization_dir")) / "factorization.json"
    adjustment = Path(given.pop("matrix_dir")) / "adjustment.json"
    model = write_model(tmp_path / "model", fit, given.pop("mask_file"), adjustment=adjustment)
    task = tasks.ProjectSubjects(model_file=model / "model.json", **given)
    found = task(cache_root=cache).loadings_file
    expected = battery["ProjectSubjects"].outputs["loadings_file"]
    pd.testing.assert_frame_equal(*(pd.read_csv(path, sep="\t") for path in (found, expected)))
