# SPDX-License-Identifier: GPL-3.0-or-later
"""Where something may be put into an HTML text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime.html import end_of_body, start_of_body


@pytest.mark.parametrize(
    "html",
    [
        "<html><body><p>x|</body></html>",
        "<p>x|</BODY ></html>",
        "<p>x|</html>",
        "<p>x|",
        "|",
        "x |</body> </body>",
        "<!-- </body> --><p>|</body>",
        "<!--> <p>|</body> -->",
        "<!-- a --!><p>|</body>",
        "<script>'</body>'</script>|</body>",
        "<style></body></style >|</body>",
        "<title></body></title>|</body>",
        "<scripted>|</body></scripted>",
        "<textarea></body></textareas></textarea/>|</body>",
        "<a title='</body>' alt=\"</body>\">|</body>",
        "<a title=it's>|</body>",
        "<a title = '>'>|</body>",
        "<a 'x>|</body>",
        "a < b |</body>",
        "<?php </body ?> |</body>",
        "</ body>|</body>",
        "<bodyguard></bodyguard>|</body>",
        "<p>|<!-- never ended </body>",
        "<p>|<a title='never ended </body>",
        "<p>|<script>never ended </body>",
        "<p>|</html><script>never ended",
    ],
)
def test_end_of_body_is_where_browsers_still_show_what_is_put_in(html: str) -> None:
    assert end_of_body(html.replace("|", "")) == html.index("|")


@pytest.mark.parametrize(
    "html",
    [
        "<html><body class='>'>|<p>x</body></html>",
        "<!DOCTYPE html><html><head><title><body></title></head>|<p>x",
        "<html lang=de>|<p>x",
        "<!DOCTYPE html>|<p>x",
        "|<p>x",
        "<!-- <body> --><BODY>|x",
        "<html>|<script>never ended <body>",
    ],
)
def test_start_of_body_is_behind_its_tag(html: str) -> None:
    assert start_of_body(html.replace("|", "")) == html.index("|")


@given(st.text("<>/!-='\" bodyhtmlscriptx\n", max_size=60))
def test_any_text_has_a_place(html: str) -> None:
    assert 0 <= end_of_body(html) <= len(html)
    assert 0 <= start_of_body(html) <= len(html)


@pytest.mark.parametrize("piece", ["<", "<a ", "<a =\"'", "<!--", "<script>", "</body", '="', "<a b='c' "])
def test_hostile_text_is_read_in_linear_steps(piece: str) -> None:
    html = piece * 100_000
    assert 0 <= end_of_body(html) <= len(html)
