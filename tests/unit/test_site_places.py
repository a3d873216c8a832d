"""Every key of a TOML text is found on its own line, whatever stands in between."""

from loadctl.site.places import find_places

TEXT = '''\
# [comment]
top = 1
[a]
plain = "[not.a.header]"   # nor = this
"quoted key" = 2
dotted.key = 3
many = [
  1,   # ] not the end
  "]", # key = 1
  [2, 3],
]
text = """
[no]
key = "x"
"""
raw = \'\'\'one line\'\'\'
after = 5
[a.b."c.d"]
e = { f = 1, g = [1, 2] }
[[rows]]
h = 1
[[rows]]
h = 2
'''


def test_places_of_every_kind_of_key_are_its_lines() -> None:
    places = find_places(TEXT)
    assert places.lines[("top",)] == 2
    assert places.lines[("a",)] == 3
    assert places.lines[("a", "plain")] == 4
    assert places.lines[("a", "quoted key")] == 5
    assert places.lines[("a", "dotted", "key")] == 6
    assert places.lines[("a", "many")] == 7
    assert places.lines[("a", "text")] == 12
    assert places.lines[("a", "raw")] == 16
    assert places.lines[("a", "after")] == 17
    assert places.lines[("a", "b", "c.d")] == 18
    assert places.lines[("a", "b", "c.d", "e")] == 19
    assert places.lines[("rows",)] == 20
    assert ("no",) not in places.lines
    assert ("a", "key") not in places.lines


def test_place_of_a_key_in_an_inline_table_is_the_line_of_the_table() -> None:
    assert find_places(TEXT).line_of(("a", "b", "c.d", "e", "f")) == 19


def test_place_of_an_unknown_path_is_none() -> None:
    assert find_places(TEXT).line_of(("nowhere", "x")) is None


def test_place_of_a_table_that_only_its_children_name_is_the_first_of_them() -> None:
    assert find_places("\n[a.b]\n[a.c]\n").line_of(("a",)) == 2


def test_places_repeated_header_and_key_are_noted_with_their_second_line() -> None:
    assert find_places("[a]\nb = 1\n[c]\n[a]\n").repeated == [(("a",), 4)]
    assert find_places("[a]\nb = 1\nb = 2\n").repeated == [(("a", "b"), 3)]


def test_places_parent_after_its_child_is_no_repetition() -> None:
    assert find_places("[a.b]\nx = 1\n[a]\ny = 1\n").repeated == []
