"""Elements escape their text, and figures take the page's colours."""

from html.parser import HTMLParser

import pytest

from adept_llm.report.figures import Line, decades, number_ids, panel, swatch
from adept_llm.report.html import Html, element, join, table

HOSTILE = "</td><script>alert('1')</script>&amp;\"<!--"


def read_back(html):
    """The texts and attributes that a browser would see."""
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, dict(attrs)))

        def handle_data(self, data):
            seen.append(data)

    reader = Reader()
    reader.feed(html)
    reader.close()
    return seen


def test_text_and_attributes_come_back_as_they_were_given():
    html = element("p", HOSTILE, Html("<b>x</b>"), None, title=HOSTILE, hidden="")
    assert read_back(html) == [("p", {"title": HOSTILE, "hidden": None}), HOSTILE, ("b", {}), "x"]
    assert join(["a<", element("i", "b")], " & ") == "a&lt; &amp; <i>b</i>"


def test_characters_that_html_forbids_are_marked():
    assert element("p", "a\x00b\x0cc\ud800d\ufffe\x85\n") == (
        "<p>a\ufffdb\ufffdc\ufffdd\ufffd\ufffd\n</p>"
    )


def test_a_table_has_a_caption_and_headers_with_their_scope():
    html = table("numbers & more", ["a", "b"], [["x", element("td", "1", class_="c")]])
    tags = [one for one in read_back(html) if isinstance(one, tuple)]
    assert ("th", {"scope": "col"}) in tags and ("th", {"scope": "row"}) in tags
    assert tags[0] == ("div", {
        "class": "wide", "tabindex": "0", "role": "region", "aria-label": "numbers & more",
    })  # fmt: skip
    assert "<caption>numbers &amp; more</caption>" in html


def line(series=0, **given):
    return Line("adept", series, (1, 10, 100), (3.0, 2.0, 1.0), **given)


def test_a_plot_says_what_it_shows_and_has_no_colour_of_its_own():
    lines = [line(), line(3, low=(2, 1, 0), high=(4, 3, 2), ring=10), Line("none", 1, (), ())]
    html = panel(HOSTILE, "step <b>", lines)
    assert html is not None
    (figure,) = [one for one in read_back(html) if one[0] == "svg"]
    assert figure[1]["role"] == "img"
    label = figure[1]["aria-label"]
    assert label.startswith(HOSTILE) and "adept: 3 at 1 to 1 at 100" in label
    assert all(f"var(--{name})" in html for name in ("s0", "s3", "ink", "rule"))
    assert "#fe00" not in html and "#fd00" not in html and "#000000" not in html
    assert "http" not in html and "font-family" not in html and "<script" not in html
    assert "step &lt;b&gt;" in html


def test_nothing_to_draw_is_no_plot():
    assert panel("x", "y", [Line("none", 0, (), ())]) is None


def test_tick_labels_keep_their_digits_and_do_not_touch():
    rates = [0.0001, 0.0003, 0.001, 0.1, 0.3, 1]
    html = panel("x", "rate", [Line("a", 0, rates, rates)], rates, log_x=True)
    assert html is not None
    texts = {one for one in read_back(html) if isinstance(one, str)}
    assert {"0.0001", "0.001", "0.1"} <= texts
    assert "0.0003" not in texts


def test_decades_are_round_numbers_within_the_limits():
    assert decades((0.15, 3)) == pytest.approx([0.2, 0.5, 1, 2])
    assert decades((0.15, 18)) == pytest.approx([0.3, 1, 3, 10])
    assert decades((1e-5, 2)) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1])


def test_like_figures_have_unlike_ids_that_are_all_found():
    page = number_ids(join([swatch(2), swatch(2), panel("x", "y", [line()])]))
    tags = [one for one in read_back(page) if isinstance(one, tuple)]
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 3
    used = {a["xlink:href"][1:] for _, a in tags if "xlink:href" in a}
    used |= {a["clip-path"][5:-1] for _, a in tags if "clip-path" in a}
    assert used == set(ids)


def test_a_plot_is_the_same_each_time():
    assert panel("x", "y", [line()]) == panel("x", "y", [line()])


def test_a_loss_that_falls_by_decades_has_a_logarithmic_axis():
    """On a plain one all that matters lies on the bottom line."""
    steep = Line("adept", 0, (0, 1, 2), (5.0, 0.2, 0.15))
    flat = Line("adept", 0, (0, 1, 2), (0.5, 0.2, 0.15))
    assert ">0.2<" in panel("a", "step", [steep], log_y=True)
    assert ">0.2<" not in panel("a", "step", [steep])
    assert panel("a", "step", [flat], log_y=True) == panel("a", "step", [flat])
