"""Recipes that no run could be made with say so before it begins."""

import json
from dataclasses import asdict

import pytest

from drive_seg.training.recipe import Phase, Recipe

PHASE = {"until": 1.0, "size": [96, 128], "scales": [1, 1.5]}


def test_a_saved_recipe_is_the_same(tmp_path):
    recipe = Recipe(minutes=288, phases=(Phase(1, (96, 128), (1, 1.5)),), rare=())
    recipe.save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize(("values", "match"), [
    ([1], "must be a JSON object"),
    ({"learning": 1}, "learning is not part of a recipe"),
    ({"steps": "many"}, "steps must be a whole number of 1 or more, it is 'many'"),
    ({"steps": 10.5}, "steps must be"),
    ({"batch": 1}, "batch must be a whole number of 2 or more"),
    ({"seed": -1}, "seed must be"),
    ({"workers": True}, "workers must be"),
    ({"minutes": -1}, "minutes must be a number above 0"),
    ({"minutes": float("inf")}, "minutes must be"),
    ({"lr": "fast"}, "lr must be a number above 0, it is 'fast'"),
    ({"rare_share": 1.5}, "rare_share must be a number at least 0 and at most 1, it is 1.5"),
    ({"ema": 1}, "ema must be a number at least 0 and below 1"),
    ({"train_shallow": 1}, "train_shallow must be true or false"),
    ({"mixed_precision": "bf16"}, "mixed_precision must be true, false or null"),
    ({"rare": "pole"}, "rare must be a list of names, it is 'pole'"),
    ({"ego_sets": "camvid"}, "ego_sets must be a list of names"),
    ({"shares": {"camvid": 0}}, "shares must give each data set a number above 0"),
    ({"shares": [1]}, "shares must give each data set a number above 0"),
    ({"settle": -1}, "settle must be a whole number of 0 or more"),
    ({"phases": []}, "phases must be one or more"),
    ({"phases": [PHASE, PHASE]}, "later `until`"),
    ({"phases": {"until": 1}}, "phases must be a list of"),
    ({"phases": [PHASE | {"size": 96}]}, "phases must be a list of"),
    ({"phases": [PHASE | {"size": [100, 100]}]}, r"multiples of 32, it is \(100, 100\)"),
    ({"phases": [PHASE | {"size": [96]}]}, "multiples of 32"),
    ({"phases": [PHASE | {"scales": [2, 1]}]}, "scales of a phase"),
    ({"phases": [PHASE | {"until": 0}]}, "until of a phase"),
    ({"phases": [PHASE | {"look": 2}]}, "look of a phase must be a number at least 0 and at most 1, it is 2"),
    ({"phases": [PHASE | {"looks": 1}]}, "phases must be a list of"),
])
def test_what_is_no_recipe(tmp_path, values, match):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"recipe.json: .*{match}"):
        Recipe.load(file)


def test_a_file_that_is_no_json(tmp_path):
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match="recipe.json: "):
        Recipe.load(tmp_path / "recipe.json")
    with pytest.raises(ValueError, match="directory"):
        Recipe.load(tmp_path)


def test_the_default_may_be_saved_as_json():
    assert json.loads(json.dumps(asdict(Recipe())))["minutes"] is None


def test_shares_of_the_data_sets():
    assert Recipe(extra_share=0.25).shares_of(["a", "b", "c"]) == pytest.approx([0.75, 0.125, 0.125])
    assert Recipe(extra_share=0.25).shares_of(["a"]) == [1.0]
    recipe = Recipe(shares={"b": 3, "a": 1})
    assert recipe.shares_of(["a", "b"]) == pytest.approx([0.25, 0.75])
    with pytest.raises(ValueError, match="has shares for a, b, the data sets are a, c: name each of them"):
        recipe.shares_of(["a", "c"])
