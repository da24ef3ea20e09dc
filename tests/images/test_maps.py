from opnmf_pipeline.images.maps import component_names


def test_component_names_sort_as_text():
    names = component_names(120)
    assert names == sorted(names)
    assert len(set(names)) == 120
