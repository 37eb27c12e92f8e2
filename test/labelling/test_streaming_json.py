"""Large JSON files, one element at a time."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive_seg.labelling import streaming_json
from drive_seg.labelling.streaming_json import JsonError, elements

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12)


@given(st.lists(VALUES) | st.dictionaries(st.text(), VALUES, max_size=5), st.integers(1, 40),
       st.sampled_from([None, 1]))
def test_the_same_as_reading_it_whole(tmp_path_factory, whole, chunk, indent):
    file = tmp_path_factory.mktemp("json") / "file.json"
    file.write_text(json.dumps(whole, indent=indent), encoding="utf-8")
    before, streaming_json._CHUNK = streaming_json._CHUNK, chunk
    try:
        found = list(elements(file))
    finally:
        streaming_json._CHUNK = before
    if isinstance(whole, list):
        assert found == [("", value) for value in whole]
    else:
        expected = []
        for key, value in whole.items():
            expected += [(key, one) for one in value] if isinstance(value, list) else [(key, value)]
        assert found == expected


def test_memory_is_bounded(tmp_path):
    file = tmp_path / "large.json"
    row = {"id": 1, "segmentation": [[float(i) for i in range(200)]], "image_id": 7}
    with file.open("w") as out:
        out.write('{"info": {}, "annotations": [' + ", ".join([json.dumps(row)] * 8000) + '], "images": []}')
    assert file.stat().st_size > 8e6
    tracemalloc.start()
    try:
        assert sum(1 for key, _ in elements(file) if key == "annotations") == 8000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2e6


@pytest.mark.parametrize(("text", "words"), [
    ("", "the end where"), ("[1, 2", "the end where"), ('{"a" 1}', "'1' where : should be"), ("[1 2]", "'2' where"),
    ("{'a': 1}", "is not JSON"), ("nonsense", "'n' where"),
])
def test_what_is_not_json_is_named(text, words, tmp_path):
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(JsonError, match="broken.json") as caught:
        list(elements(file))
    assert words in str(caught.value)
