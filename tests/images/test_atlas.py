import pytest

from opnmf_pipeline.exceptions import FileError
from opnmf_pipeline.images.atlas import labels_beside, read_regions

FORMATS = {
    "bids.tsv": "index\tname\tstructure\n0\tbackground\tn/a\n1\tleft cuneus\toccipital\n"
    "5\tright cuneus\toccipital\n",
    "nilearn.csv": "index,name,color\n1,left cuneus,#fff\n5,right cuneus,#000\n",
    "fsl.xml": "<atlas><header><type>Probabilistic</type></header><data>"
    '<label index="0">left cuneus</label><label index="4">right cuneus</label></data></atlas>',
    "fsl-labels.xml": "<atlas><header><type>Label</type></header><data>"
    '<label index="0">Unclassified</label><label index="1">left cuneus</label>'
    '<label index="5">right cuneus</label></data></atlas>',
    "freesurfer.txt": "# No. Label Name R G B A\n\n0 Unknown 0 0 0 0\n"
    "1   left cuneus   70 130 180 0\n5\tright cuneus\t245 245 245 0\n",
    "itk-snap.label": '# comment\n0 0 0 0 0 0 0 "Clear Label"\n'
    '1 255 0 0 1 1 1 "left cuneus"\n5 0 255 0 1 1 1 "right cuneus"\n',
    "mricron.txt": "1 left cuneus 2001\n5 right cuneus 2002\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_of_labels(tmp_path, name):
    path = tmp_path / name
    path.write_text(FORMATS[name])
    regions = read_regions(path)
    assert regions["name"].to_dict() == {1: "left cuneus", 5: "right cuneus"}
    assert ("structure" in regions) == (name == "bids.tsv")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "id\tname\n1\tcuneus\n", "a.tsv: has no column index; the labels"),
        ("a.csv", "index,label\n1,cuneus\n", "a.csv: has no column name; the labels"),
        ("a.tsv", "index\tname\none\tcuneus\n", "index 'one' is not a whole number"),
        ("a.tsv", "index\tname\n1\ta\n1\tb\n", "duplicate index 1; give each label one name"),
        ("a.tsv", "index\tname\n", r"a.tsv: cannot be read .*\(no label found\); give a TSV"),
        ("a.txt", "cuneus\nprecuneus\n", r"a.txt: cannot be read .*\(no label found\); give a TSV"),
        ("a.xml", "<atlas>", r"a.xml: cannot be read as the labels of an atlas \(no element"),
        ("a.xml", '<a><label index="b">c</label></a>', "index 'b' is not a whole number"),
        ("b.txt", None, r"b.txt: cannot be read as the labels of an atlas \(No such file"),
        ("b.tsv", None, "b.tsv: cannot be read as a table"),
    ],
)
def test_labels_that_cannot_be_read(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(FileError, match=message):
        read_regions(tmp_path / name)


def test_labels_are_found_next_to_the_image(tmp_path):
    image = tmp_path / "atlas-x.v2_dseg.nii.gz"
    with pytest.raises(FileError, match=r"none of atlas-x\.v2_dseg\.tsv, .* set report\.atlas_l"):
        labels_beside(image)
    for ending in (".xml", ".tsv"):
        (tmp_path / f"atlas-x.v2_dseg{ending}").touch()
    assert labels_beside(image) == tmp_path / "atlas-x.v2_dseg.tsv"
