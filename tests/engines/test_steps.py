"""The graph of a run: which jobs there are, in which order, and what each takes from which."""

import pytest

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.graph import Graph, Over
from opnmf_pipeline.engines.steps import steps_of

STUDY = {"n_splits": 2, "n_permutations": 2, "random_state": 7, "candidates": [5, 2, 3, 4]}
STUDY |= {"n_starts": 2, "shared_start": True}


def graph_of(*, n_splits=None, **selection):
    config = PipelineConfig.model_validate(
        {
            "inputs": {"bids": "data"},
            "decomposition": {"n_components": [3, 2]},
            "selection": selection
            if "leave_out" in selection
            else selection | {"n_splits": n_splits or 0},
        }
    )
    return Graph.of_steps(steps_of(config, n_splits))


@pytest.fixture(scope="module")
def graph():
    return graph_of(**STUDY)


def job(graph, name):
    (found,) = [one for one in graph.jobs if one.name == name]
    return found


def names(jobs):
    return [one.name for one in jobs]


def taken(graph, name, field):
    """Return the names of the jobs whose outputs an input of a job stands for."""
    one = job(graph, name)
    return [made.name for made, _ in graph.sources(one, one.step.inputs[field])]


def test_every_job_comes_after_those_that_it_needs(graph):
    before = set()
    for one in graph.jobs:
        assert before.issuperset(names(graph.needs(one))), one.name
        before.add(one.name)
    assert len(before) == len(graph.jobs)


def test_all_of_one_number_of_components_comes_before_the_next():
    of_maps = [name for name in names(graph_of().jobs) if "_k" in name]
    assert of_maps == [
        *("decompose_k3", "maps_k3", "figures_k3", "associations_k3"),
        *("decompose_k2", "maps_k2", "figures_k2", "associations_k2"),
    ]


def test_a_number_with_maps_is_fitted_once(graph):
    fits = [name for name in names(graph.jobs) if name.startswith(("decompose", "candidate"))]
    assert fits == ["decompose_k3", "decompose_k2", "candidate_k5", "candidate_k4"]


def test_a_job_takes_what_has_its_own_numbers(graph):
    assert taken(graph, "maps_k2", "factorization_dir") == ["decompose_k2"]
    assert taken(graph, "figures_k3", "components_file") == ["maps_k3"]
    assert taken(graph, "halves_k5_split2", "split_file") == ["splits"]
    assert names(graph.needs(job(graph, "halves_k5_split2"))) == ["matrix", "splits", "mask"]


def test_what_is_compared_comes_by_increasing_numbers(graph):
    fits = taken(graph, "select", "factorization_dirs")
    assert fits == ["decompose_k2", "decompose_k3", "candidate_k4", "candidate_k5"]
    halves = taken(graph, "select", "halves_files")
    assert halves == [f"halves_k{k}_split{split}" for k in (2, 3, 4, 5) for split in (1, 2)]
    shared = taken(graph, "select", "shared_files")
    assert shared == [name.replace("halves", "shared") for name in halves]
    starts = taken(graph, "select", "start_dirs")
    assert starts == [f"start_k{k}_seed{seed}" for k in (2, 3, 4, 5) for seed in (1, 2)]
    permuted = taken(graph, "select", "permuted_files")
    assert permuted == [f"permuted_k{k}_seed{seed}" for k in (2, 3, 4, 5) for seed in (7, 8)]


def test_the_report_follows_the_settings(graph):
    for field, step in (("factorization_dirs", "decompose"), ("loadings_files", "maps")):
        assert taken(graph, "report", field) == [f"{step}_k3", f"{step}_k2"]


def test_a_comparison_without_maps_takes_only_what_there_is():
    config = PipelineConfig.model_validate(
        {
            "inputs": {"bids": "data"},
            "decomposition": {"n_components": []},
            "selection": {"candidates": [2, 3], "n_splits": 2},
        }
    )
    graph = Graph.of_steps(steps_of(config))
    assert taken(graph, "report", "factorization_dirs") == ["candidate_k2", "candidate_k3"]
    assert set(names(graph.needs(job(graph, "report")))) == {
        *("candidate_k2", "candidate_k3", "select", "quality", "mask"),
    }


def test_all_that_a_job_waits_for(graph):
    needed = graph.needs_of_all(job(graph, "figures_k2"))
    assert set(needed) == {"maps_k2", "decompose_k2", "matrix", "mask"}
    assert {name: one.name for name, one in needed.items()} == {name: name for name in needed}


def test_splits_and_seeds(graph):
    def numbers(step, name):
        return [one.numbers[name] for one in graph.jobs if one.k == 4 and one.step.name == step]

    assert numbers("halves", "split") == numbers("shared", "split") == [1, 2]
    assert numbers("permuted", "seed") == [7, 8]
    assert numbers("start", "seed") == [1, 2]


def test_a_start_is_random_with_its_own_seed(graph):
    inputs = job(graph, "start_k4_seed2").step.inputs
    assert (inputs["init"], inputs["random_state"]) == ("random", Over("seed"))
    assert job(graph, "candidate_k4").step.inputs["init"] == "nndsvd"


def test_only_the_shared_halves_have_a_shared_start(graph):
    shared = {
        name: job(graph, f"{name}_k4_split1").step.inputs["shared_start"]
        for name in ("halves", "shared")
    }
    assert shared == {"halves": False, "shared": True}
    null = {name: job(graph, f"{name}_k4_split1").step.inputs["n_null"] for name in shared}
    assert null == {"halves": 5, "shared": 0}  # both would be alike
    assert job(graph, "select").step.inputs["n_null"] == 5


def test_a_cohort_can_have_another_number_of_splits_than_the_settings():
    halves = [
        name for name in names(graph_of(leave_out="site", n_splits=3).jobs) if "split" in name
    ]
    assert halves == ["splits", *(f"halves_k{k}_split{n}" for k in (3, 2) for n in (1, 2, 3))]


def test_one_node_can_run_all_splits(graph):
    assert job(graph, "halves_k5_split2").node_name == "halves_k5"
    assert job(graph, "permuted_k5_seed8").node_name == "permuted_k5_seed8"


def test_the_reliability_of_one_k_takes_the_halves_of_that_k():
    graph = graph_of(**STUDY | {"n_bootstraps": 2, "groups": "family"})
    for k in (2, 3):
        halves = taken(graph, f"reliability_k{k}", "halves_labels")
        assert halves == [f"halves_k{k}_split{split}" for split in (1, 2)]
        samples = taken(graph, f"reliability_k{k}", "bootstrap_labels")
        assert samples == [f"bootstrap_k{k}_sample{sample}" for sample in (1, 2)]
        assert taken(graph, f"reliability_k{k}", "labels_file") == [f"maps_k{k}"]
    assert job(graph, "bootstrap_k2_sample1").step.inputs["groups"] == "family"
    dirs = taken(graph, "report", "reliability_dirs")
    assert dirs == ["reliability_k3", "reliability_k2"]


@pytest.mark.parametrize(
    ("selection", "ks"),
    [
        ({}, []),
        ({"n_starts": 2}, []),
        ({"n_splits": 1}, [3, 2]),
        ({"n_bootstraps": 2}, [3, 2]),
        ({"n_splits": 1, "candidates": [2, 4]}, [2]),
        ({"n_bootstraps": 2, "candidates": [2, 4]}, [3, 2]),
    ],
)
def test_reliability_is_measured_where_there_are_maps_and_resamples(selection, ks):
    graph = graph_of(**selection)
    assert [one.k for one in graph.jobs if one.step.name == "reliability"] == ks
    fits = [one for one in graph.jobs if one.step.name == "bootstrap"]
    assert len(fits) == len(ks) * selection.get("n_bootstraps", 0)
