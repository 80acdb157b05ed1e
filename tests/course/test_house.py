"""The house as a table and as a picture: both say what the code imports, and no more than a wing may."""

import re
import xml.etree.ElementTree as xml

import pytest
from test_architecture import BELOW

from savi.course import house, pages

SVG = "{http://www.w3.org/2000/svg}"
DIAMOND = {"low": {}, "left": {"low": 1}, "right": {"low": 2}, "top": {"low": 1, "left": 1, "right": 3}}


def test_the_table_is_as_the_code_is():
    rows = dict(re.findall(r"^\| (\w+) \| \d+ \| (.*) \|$", house.table(), re.M))
    assert list(rows) == list(pages.WINGS) and rows["engine"] == "nothing of savi"
    assert re.fullmatch(r"engine \(\d+\)", rows["course"]) and "nets (" in rows["models"]
    assert not re.search(r"inference|experiments|course", rows["data"])


def test_every_arrow_is_one_that_a_wing_may_have():
    for wing, used in house.arrows().items():
        assert set(used) <= set(BELOW[wing].split())
        assert all(0 < n <= len(house.rooms(wing)) for n in used.values())


def test_an_import_is_seen_however_it_is_written(tmp_path):
    room = tmp_path / "room.py"
    room.write_text(
        "from ..nets.mlp import MLP\nfrom .. import data\nfrom ... import models\ndef f():\n    from ..engine import x"
    )
    assert house.imported(room) == {"nets", "data", "engine"}


def test_an_arrow_that_a_longer_way_says_is_not_drawn():
    assert house.drawn(DIAMOND) == {"low": [], "left": ["low"], "right": ["low"], "top": ["left", "right"]}
    assert house.below("top", DIAMOND) == {"low", "left", "right"}


def test_what_is_drawn_leads_everywhere_where_the_imports_lead():
    used = house.arrows()
    shown = {wing: dict.fromkeys(others) for wing, others in house.drawn(used).items()}
    assert {wing: house.below(wing, shown) for wing in shown} == {wing: house.below(wing, used) for wing in used}


@pytest.mark.parametrize("used", [house.arrows(), DIAMOND], ids=["savi", "a diamond"])
def test_a_wing_lies_above_all_that_it_imports_and_apart_from_the_others(used):
    at = house.places(used)
    assert all(at[wing][1] + house.HIGH < at[other][1] for wing, others in used.items() for other in others)
    for wing, (x, y) in at.items():
        near = [o for o, (a, b) in at.items() if abs(a - x) < house.WIDE and abs(b - y) < house.HIGH]
        assert near == [wing]


def test_the_picture_has_a_box_for_each_wing_inside_its_frame_and_all_its_arrows():
    svg = xml.fromstring(house.picture())
    words = [text.text for text in svg.iter(f"{SVG}text")]
    assert sorted(words) == sorted(f"{wing} ({len(house.rooms(wing))})" for wing in pages.WINGS)
    wide, high = float(svg.get("width")), float(svg.get("height"))
    boxes = [box for box in svg.iter(f"{SVG}rect") if box.get("rx")]
    for box in boxes:
        x, y, w, h = (float(box.get(key)) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= wide and 0 <= y <= y + h <= high
    arrows = [path for path in svg.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(arrows) == sum(map(len, house.drawn(house.arrows()).values()))
