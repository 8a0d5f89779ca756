# SPDX-License-Identifier: GPL-3.0-or-later
"""Query parameters leave web addresses, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime.uris import Stripper

TRACKING = ("utm_*", "fbclid")


def text(given_text: str) -> str:
    return Stripper(TRACKING).text(given_text)


def html(given_html: str) -> str:
    return Stripper(TRACKING).html(given_html)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("http://a.example/?utm_source=x", "http://a.example/"),
        ("http://a.example/?utm_source=x&id=1", "http://a.example/?id=1"),
        ("http://a.example/?id=1&utm_source=x", "http://a.example/?id=1"),
        ("http://a.example/?a=1&UTM_Medium=x&b=2&fbclid=y#top", "http://a.example/?a=1&b=2#top"),
        ("HTTPS://a.example/p?utm%5Fsource=x#utm_source=y", "HTTPS://a.example/p#utm_source=y"),
        ("see http://a.example/?utm_id=1.", "see http://a.example/."),
        ("(http://a.example/?id=2&utm_id=1)", "(http://a.example/?id=2)"),
        ("<http://a.example/?utm_id=1>", "<http://a.example/>"),
        ("http://a.example/?a=1&&b", "http://a.example/?a=1&&b"),
        ("http://a.example/?utmost=1", "http://a.example/?utmost=1"),
        ("no address: ?utm_source=x", "no address: ?utm_source=x"),
        (
            "two  blanks\n\n  and http://a.example/?utm_a=1\nlines \n",
            "two  blanks\n\n  and http://a.example/\nlines \n",
        ),
    ],
)
def test_text_loses_the_parameters_and_nothing_else(before: str, after: str) -> None:
    assert text(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<a href="http://a/?utm_x=1&amp;b=2">', '<a href="http://a/?b=2">'),
        ('<a href="http://a/?b=2&utm_x=1&amp;c=3">', '<a href="http://a/?b=2&amp;c=3">'),
        ("<A HREF='//a/?utm_x=1' class=x>", "<A HREF='//a/' class=x>"),
        ("<img src=http://a/p.gif?utm_x=1>", "<img src=http://a/p.gif>"),
        (
            '<a title="x > http://a/?utm_x=1" href="http://a/?utm_x=1">',
            '<a title="x > http://a/?utm_x=1" href="http://a/">',
        ),
        ('<a href="mailto:a@b?utm_x=1">', '<a href="mailto:a@b?utm_x=1">'),
        ("<p>http://a/?utm_x=1&amp;b=2</p>", "<p>http://a/?b=2</p>"),
        ("<p>&quot;http://a/?utm_x=1&quot; &copy;", "<p>&quot;http://a/&quot; &copy;"),
        ("<p>&lt;http://a/?utm_x=1&gt;", "<p>&lt;http://a/&gt;"),
        ("<!-- http://a/?utm_x=1 -->", "<!-- http://a/?utm_x=1 -->"),
        ("<script>x='http://a/?utm_x=1'</script>", "<script>x='http://a/?utm_x=1'</script>"),
        ("<a href='http://a/?utm_x=1", "<a href='http://a/?utm_x=1"),
        ('<a href="http://a/?utm_x=&quot;q&quot;&amp;b=1">', '<a href="http://a/?b=1">'),
    ],
)
def test_html_loses_the_parameters_and_nothing_else(before: str, after: str) -> None:
    assert html(before) == after


def test_addresses_that_were_changed_are_counted() -> None:
    stripper = Stripper(TRACKING)
    stripper.html('<a href="http://a/?utm_x=1&amp;utm_y=2">http://a/?utm_x=1</a> http://a/')
    assert stripper.changed == 2


PIECES = [
    "<a href=",
    '"',
    "'",
    ">",
    "<",
    "http://a/?",
    "utm_x=1",
    "&",
    "&amp;",
    "&quot;",
    "b=2",
    "#",
    "<!--",
    "-->",
    "<script>",
    "\n |\n</script>",
    "é",
    "?",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join) | st.lists(st.sampled_from(PIECES)).map("".join))
def test_what_is_left_is_the_text_with_pieces_taken_out(anything: str) -> None:
    for left in (text(anything), html(anything)):
        rest = iter(anything)
        assert all(char in rest for char in left)


@given(st.text(max_size=200))
def test_text_without_tracking_stays_as_it_is(anything: str) -> None:
    if "utm" not in anything.lower() and "fbclid" not in anything.lower() and "%" not in anything:
        assert (text(anything), html(anything)) == (anything, anything)


@pytest.mark.parametrize(
    "piece", ["<a href=", "http://a/?&", "<!--", '<a href="', "http://", "&amp;", "<a href='//?", "= "]
)
def test_time_is_linear_in_the_length(piece: str) -> None:
    # A quadratic tokenizer would need minutes for this.
    html(piece * 100_000)
    text(piece * 100_000)
