"""What the output says about itself."""

import json
import re
from pathlib import Path

import pytest

from opnmf_pipeline import __version__
from opnmf_pipeline.dataset.description import (
    bids_uri,
    dataset_description,
    describe_columns,
    is_ours,
    readme,
    with_sources,
)
from opnmf_pipeline.dataset.names import OUTPUTS


def describe(inputs, environment=None, **options):
    text = dataset_description({"inputs": inputs}, environment=environment or {}, **options)
    return json.loads(text)


def test_generated_by():
    description = describe({"glob": "*.nii"})
    assert description["GeneratedBy"] == [{"Name": "opnmf-pipeline", "Version": __version__}]
    assert description["DatasetType"] == "derivative"
    assert "SourceDatasets" not in description
    assert "CodeURL" not in description["GeneratedBy"][0]


def test_authors_and_licence_are_those_that_the_user_gave():
    assert not {"Authors", "License"} & set(describe({"glob": "*.nii"}))
    settings = {"inputs": {}, "output": {"authors": ["Ada B", "Carl D"], "license": "CC0"}}
    description = json.loads(dataset_description(settings))
    assert (description["Authors"], description["License"]) == (["Ada B", "Carl D"], "CC0")


@pytest.mark.parametrize(
    ("environment", "container"),
    [
        ({"APPTAINER_CONTAINER": "/images/opnmf.sif"}, {"Type": "apptainer", "Tag": "opnmf.sif"}),
        (
            {"SINGULARITY_CONTAINER": "/images/opnmf.sif"},
            {"Type": "singularity", "Tag": "opnmf.sif"},
        ),
        (
            {"OPNMF_CONTAINER_TAG": "opnmf-pipeline:1"},
            {"Type": "docker", "Tag": "opnmf-pipeline:1"},
        ),
        (
            {"APPTAINER_CONTAINER": "/a.sif", "OPNMF_CONTAINER_TAG": "opnmf-pipeline:1"},
            {"Type": "apptainer", "Tag": "a.sif"},
        ),
    ],
)
def test_the_container_comes_from_the_environment(environment, container):
    description = describe({"glob": "*.nii"}, environment)
    assert description["GeneratedBy"][0]["Container"] == container


def test_sources_and_links(tmp_path):
    source, model = tmp_path / "a b", tmp_path / "model"
    source.mkdir()
    (source / "dataset_description.json").write_text('{"DatasetDOI": "doi:10.1/x"}')
    description = describe({"bids": str(source)}, model=model)
    assert description["SourceDatasets"] == [
        {"URL": source.as_uri(), "DOI": "doi:10.1/x"},
        {"URL": model.as_uri()},
    ]
    assert description["DatasetLinks"] == {"input": source.as_uri(), "model": model.as_uri()}
    assert "%20" in description["DatasetLinks"]["input"]


def test_columns_that_the_input_describes_and_others():
    known = {"age": {"Description": "Age", "Units": "year"}, "height": {"Description": "x"}}
    described = json.loads(describe_columns(["participant_id", "age", "iq"], known))
    assert list(described) == ["participant_id", "age", "iq"]
    assert described["age"] == known["age"]
    assert "has no description" in described["iq"]["Description"]


def test_sources_are_added_to_what_is_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"Description": "d", "x": {"Units": "mm³"}}')
    content = json.loads(with_sources(path, ["bids::mask.nii"]))
    assert content == {"Description": "d", "x": {"Units": "mm³"}, "Sources": ["bids::mask.nii"]}


@pytest.mark.parametrize(
    ("content", "ours"),
    [
        (None, False),
        ("{", False),
        ("[]", False),
        ('{"GeneratedBy": [{"Name": "fMRIPrep"}]}', False),
        ('{"GeneratedBy": "x"}', False),
        ('{"GeneratedBy": [{"Name": "opnmf-pipeline"}]}', True),
    ],
)
def test_whose_folder_it_is(tmp_path, content, ours):
    if content is not None:
        (tmp_path / "dataset_description.json").write_text(content)
    assert is_ours(tmp_path) == ours


def test_readme_lists_the_files_that_there_are(tmp_path):
    text = readme({"inputs": {"bids": "/data"}}, OUTPUTS, tmp_path / "model")
    assert "from `/data`, with the components in `" in text
    assert all(f"| `{output.path}` | {output.description} |" in text for output in OUTPUTS.values())
    text = readme({"inputs": {"simulation": {}}}, ["metrics", "readme"])
    assert "a simulated cohort." in text
    assert text.count("| `") == 2
    assert "In the file names" not in text


def test_readme_explains_every_field_of_the_file_names():
    text = readme({"inputs": {"bids": "/data"}}, OUTPUTS).replace("\n", " ")
    fields = {field for output in OUTPUTS.values() for field in re.findall(r"{\w+}", output.path)}
    assert "{image}" in fields
    assert [field for field in sorted(fields) if f"`{field}` is " not in text] == []


@pytest.mark.parametrize(
    ("path", "dataset", "expected"),
    [
        ("/data/sub-1/a.nii", "", "bids::sub-1/a.nii"),
        ("/data/sub-1/a.nii", "input", "bids:input:sub-1/a.nii"),
        ("/data/my map.nii", "input", "bids:input:my%20map.nii"),
        ("/data2/a b.nii", "input", "file:///data2/a%20b.nii"),  # not in the dataset
    ],
)
def test_uris(path, dataset, expected):
    assert bids_uri(path, Path("/data"), dataset) == expected
