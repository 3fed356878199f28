"""Which row is which region, and where it lies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from tiny import make_atlas

from connectome_gnn.atlas import Atlas
from connectome_gnn.errors import ConnectomeError

LABEL = (
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1)
    .map(str.strip)
    .filter(lambda text: text and text != "n/a")
)
PLACE = st.floats(-100, 100) | st.just(np.nan)


@st.composite
def atlases(draw):
    labels = draw(st.lists(LABEL, min_size=2, max_size=6, unique=True))
    several = {"min_size": len(labels), "max_size": len(labels)}
    return Atlas(
        labels,
        hemisphere=draw(st.none() | st.lists(st.sampled_from(["L", "R", "n/a"]), **several)),
        network=draw(st.none() | st.lists(LABEL | st.just("n/a"), **several)),
        xyz=draw(st.none() | st.lists(st.tuples(PLACE, PLACE, PLACE), **several)),
        name="drawn",
    )


@given(atlases())
def test_saved_and_loaded_it_is_the_same(tmp_path_factory, atlas):
    path = tmp_path_factory.mktemp("atlas") / "atlas.tsv"
    atlas.save(path)
    loaded = Atlas.load(path)
    assert loaded == atlas  # labels, hemispheres, networks and every digit of the coordinates
    assert loaded.name == "atlas"
    assert Atlas.load(path, name="").name == ""
    assert b"\r" not in path.read_bytes()


def test_what_it_knows():
    atlas = make_atlas(5)
    assert (len(atlas), atlas.n_regions, atlas.n_edges) == (5, 5, 10)
    assert not atlas.has_coordinates
    assert Atlas(["a", "b"], xyz=np.zeros((2, 3))).has_coordinates
    plain = Atlas(["a", "b"])
    assert plain.hemisphere == plain.network == ("n/a", "n/a")
    assert np.isnan(plain.xyz).all()
    assert Atlas([1, 2]).labels == ("1", "2")
    assert "5 regions" in repr(atlas)
    assert hash(atlas) == hash(make_atlas(5))
    assert atlas != make_atlas(4)
    assert atlas != "an atlas"
    with pytest.raises(ValueError, match="read-only"):
        atlas.xyz[0] = 0


def test_distances_agree_with_scipy():
    atlas = make_atlas(7)
    expected = pdist(atlas.xyz)
    np.testing.assert_allclose(atlas.edge_distances(), expected)
    np.testing.assert_allclose(atlas.distances()[:6, :6], squareform(expected)[:6, :6])
    assert np.isnan(atlas.distances()[6]).all()
    assert np.isnan(atlas.edge_distances()).sum() == 6  # those of the region without a place


def test_match_says_what_differs():
    atlas = Atlas(["a", "b", "c"])
    assert atlas.match(Atlas(["a", "b", "c"])).same
    shuffled = atlas.match(Atlas(["c", "a", "b"]))
    assert not shuffled.same
    assert list(shuffled.order) == [1, 2, 0]
    assert shuffled.describe() == "the same regions in another order"
    other = atlas.match(Atlas(["b", "x", "y", "z", "w"]))
    assert other.missing == ("a", "c")
    assert other.order is None
    assert other.describe() == "2 missing ('a', 'c'); 4 extra ('w', 'x', 'y', ...)"
    larger = atlas.match(Atlas(["a", "b", "c", "d"]))
    assert not larger.same
    assert list(larger.order) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a"]}, "at least 2 regions, got 1"),
        ({"labels": []}, "at least 2 regions, got 0"),
        ({"labels": ["a", "b", "a"]}, "'a' occurs more than once"),
        ({"labels": ["a", " "]}, "region 2 of the atlas has none"),
        ({"labels": ["a", None]}, "region 2 of the atlas has none"),
        ({"labels": [np.nan, "b"]}, "region 1 of the atlas has none"),
        ({"labels": ["a", "n/a"]}, "region 2 of the atlas has none"),
        ({"hemisphere": ["L"]}, "a hemisphere for each of 2 regions, got 1"),
        ({"hemisphere": ["L", "left"]}, "region 'b' has 'left'"),
        ({"network": ["V", "D", "V"]}, "a network for each of 2 regions, got 3"),
        ({"xyz": np.zeros((3, 3))}, r"shape \(2, 3\) in mm, got \(3, 3\)"),
        ({"xyz": [[0, 0, 0], [0, np.inf, 0]]}, "y of region 'b' is 'inf'"),
        ({"xyz": [[0, 0, 0], [0, 0, "far"]]}, "z of region 'b' is 'far'"),
    ],
)
def test_what_is_no_atlas_is_refused(arguments, message):
    with pytest.raises(ConnectomeError, match=message):
        Atlas(**{"labels": ["a", "b"], **arguments})


def test_missing_values_of_pandas_are_unknown():
    atlas = Atlas(["a", "b"], hemisphere=[pd.NA, "L"], network=[None, np.nan], xyz=[[pd.NA, None, np.nan], [1, 2, 3]])
    assert atlas.hemisphere == ("n/a", "L")
    assert atlas.network == ("n/a", "n/a")
    assert np.isnan(atlas.xyz[0]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected an atlas table"),
        ("\n\n", "is empty"),
        ("name\tx\na\t1\nb\t2\n", "needs a column 'label', it has 'name', 'x'"),
        ("name,x\na,1\n", "needs a column 'label', it has 'name', 'x'"),
        ("label\n", "at least 2 regions, got 0"),
        ("label\themisphere\na\tL\na\tR\n", "'a' occurs more than once"),
        ("label\themisphere\na\tL\nn/a\tR\n", "region 2 of the atlas has none"),
        ("label\tx\ty\na\t1\t2\nb\t1\t2\n", "coordinates x, y only"),
        ("label\tx\ty\tz\na\t1\t2\t3\nb\t1\tnear\t3\n", "y of region 'b' is 'near'"),
        ("label\themisphere\na\tL\nb\n", "line 3 has 1 cells, the header 2"),
        ("label\themisphere\na\tL\nb\tL\textra\n", "line 3 has 3 cells, the header 2"),
        ("label\tlabel\na\tb\n", "column 'label' more than once"),
        ('label\themisphere\na\tL\n"b\tR\n', "open quotation mark"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, message):
    path = tmp_path / "atlas.tsv"
    path.write_text(text)
    with pytest.raises(ConnectomeError, match=message) as caught:
        Atlas.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_or_undecodable_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table at .*atlas\.tsv"):
        Atlas.load(tmp_path / "atlas.tsv")
    (tmp_path / "atlas.tsv").write_bytes("label\nRégion\nb\n".encode("utf-16"))
    with pytest.raises(ConnectomeError, match="not UTF-8"):
        Atlas.load(tmp_path / "atlas.tsv")


def test_tables_as_others_write_them(tmp_path):
    """A byte order mark, Windows line ends, quoted cells, numbers for labels, empty cells, columns of no concern."""
    path = tmp_path / "atlas.tsv"
    text = '\ufeffindex\tlabel\themisphere\tx\ty\tz\r\n1\t"007"\tL\t1.5\t\tn/a\r\n2\t"a ""b"""\t \t-2\t3\t4\r\n'
    path.write_bytes(text.encode())
    atlas = Atlas.load(path)
    assert atlas.labels == ("007", 'a "b"')
    assert atlas.hemisphere == ("L", "n/a")
    np.testing.assert_array_equal(atlas.xyz, [[1.5, np.nan, np.nan], [-2, 3, 4]])


def test_the_real_atlases(data_folder):
    atlas = Atlas.load(data_folder("lemon") / "atlas.tsv")
    assert atlas.n_regions == 200
    assert atlas.has_coordinates
    assert len(set(atlas.network)) == 7
