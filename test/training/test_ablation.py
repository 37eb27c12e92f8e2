"""The ablation on tiny data: runs, scores, goes on where it stopped."""

import json

import pytest

pytest.importorskip("torch", reason="training needs torch: make test-train")

from drive_seg.training import ablation  # noqa: E402

pytestmark = pytest.mark.train


def test_a_variant_is_trained_scored_and_not_done_again(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ablation, "SIZE", (64, 96))
    words = [w for root in world for w in ("--data", str(root))] + ["--out", str(tmp_path), "--steps", "2", "--only",
                                                                    "no ImageNet weights"]
    assert ablation.main(words) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "results.json").read_text())["results"]["no ImageNet weights"]
    assert 0 <= result["strange_drivable"] <= 1
    assert printed.endswith((tmp_path / "table.md").read_text())
    assert "| no ImageNet weights | " in printed and "| all |" not in printed
    log = (tmp_path / "no_ImageNet_weights" / "log.jsonl").read_text()
    assert ablation.main(words) == 0
    assert (tmp_path / "no_ImageNet_weights" / "log.jsonl").read_text() == log
    assert ablation.main([*words, "--steps", "3"]) == 2
    assert "holds runs of 2 steps" in capsys.readouterr().err
