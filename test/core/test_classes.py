"""Class tables, good and bad."""

import pytest

from drive_seg.core.classes import UNKNOWN, ClassTable, ClassTableError, Group


def row(**changes):
    return {"id": 0, "name": "road", "group": "road", "colour": [1, 2, 3], "drivable": True} | changes


def test_look_up_tables():
    table = ClassTable.from_dicts([row(), row(id=1, name="kerb", group="pavement", drivable=False)])
    assert table.names == ("road", "kerb")
    assert list(table.group_lut[:3]) == [Group.ROAD, Group.PAVEMENT, UNKNOWN]
    assert list(table.drivable_lut[:3]) == [True, False, False]
    assert list(table.colour_lut[0]) == [1, 2, 3]


def test_there_and_back():
    rows = [row(), row(id=1, name="sky", group="background", drivable=False)]
    assert ClassTable.from_dicts(rows).to_dicts() == rows


def test_ego_within_and_also_are_kept():
    rows = [row(also=["lane", "street"]), row(id=1, name="kerb", group="pavement", drivable=False, within="road"),
            row(id=2, name="bonnet", group="background", drivable=False, ego=True)]
    table = ClassTable.from_dicts(rows)
    assert table.to_dicts() == rows
    assert list(table.ego_lut[:4]) == [False, False, True, False]
    assert table.classes[1].within == "road" and table.classes[0].also == ("lane", "street")


@pytest.mark.parametrize(("rows", "match"), [
    ([], "1 to 254"),
    ("road", "must be a list"),
    (None, "must be a list"),
    ([row(id=1)], "0, 1, 2"),
    ([row(), row(id=1)], "names must differ"),
    ([row(group="street")], "is none of"),
    ([row(group="unknown")], "is none of"),
    ([row(colour=[1, 2])], "three values"),
    ([row(colour=[1, 2, 300])], "three values"),
    ([row(drivable="yes")], "true or false"),
    ([row(group="obstacle")], "only road can be drivable"),
    ([{"id": 0}], "must have id, name"),
    ([7], "must have id, name"),
    ([row(ego="no")], "ego in .* must be true or false"),
    ([row(ego=True)], "is the ego vehicle but its group is road: make it background"),
    ([row(), row(id=1, name="kerb", within="pavement")], "kerb.*within 'pavement'.*name one of road"),
    ([row(), row(id=1, name="a", within="road"), row(id=2, name="b", within="a")], "is within 'a'"),
    ([row(), row(id=1, name="lane", also=["road"])], "road names more than one class"),
    ([row(also="lane")], "`also` a list of names"),
])
def test_bad_tables_say_what_is_wrong(rows, match):
    with pytest.raises(ClassTableError, match=match):
        ClassTable.from_dicts(rows)


def test_the_groups_to_choose_from_are_named():
    with pytest.raises(ClassTableError, match="is none of background, road, pavement, obstacle$"):
        ClassTable.from_dicts([row(group="unknown")])
