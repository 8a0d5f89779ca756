# SPDX-License-Identifier: GPL-3.0-or-later
"""What filters do to bodies: texts added, parts renamed, shadow parts dropped, and signatures forecast."""

from __future__ import annotations

from base64 import b64encode

import pytest

from defang_common.wire import commands
from defang_worker import Message, Part, Settings, Severity
from defang_worker.mime import Tree, parse
from defang_worker.mime.one_reading import delivered
from defang_worker.mime.signatures import Outcome
from defang_worker.mime.views import examine
from tests.worker.conftest import COMMANDS

HEAD = b"From: ann@a.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
TEXTS = (
    b"--b\nContent-Type: multipart/alternative; boundary=i\n\n"
    b"--i\nContent-Type: text/plain; charset=iso-8859-1\n\nHallo\n"
    b"--i\nContent-Type: text/html\n\n<html><body><p>Hallo</body></html>\n--i--\n"
    b"--b\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nfile\n"
    b"--b\nContent-Type: message/rfc822\n\nSubject: in\n\ninner\n"
    b"--b\nContent-Type: multipart/signed; boundary=s\n\n--s\n\nsigned\n--s\nContent-Type: x/y\n\nsig\n--s--\n--b--\n"
)
UUENCODED = b"before\nbegin 644 blocked.exe\n#86)C\n`\nend\nafter\n"
EPILOGUE = b'--b\n\none\n--b--\n\n--b\nContent-Disposition: attachment; filename="blocked.exe"\n\ntwo\n--b--\n'


def make(raw: bytes, told: bytes = COMMANDS, **settings: object) -> Message:
    return Message(commands.decode(told), raw, "/nowhere", Settings(**settings))  # type: ignore[arg-type]


def after(message: Message) -> Tree:
    """The message as it will be delivered."""
    rebuilt = message.finish_body()
    assert rebuilt is not None
    tree = parse(message.raw)
    return parse(delivered(tree, rebuilt))


def contents(tree: Tree) -> list[bytes]:
    return [leaf.content for leaf in tree.leaves()]


# Texts


def test_text_and_html_go_to_the_first_parts_that_are_shown() -> None:
    message = make(HEAD + TEXTS)
    assert message.append_text("Grüße") == 1
    assert message.append_html("<p>Grüße") == 1
    plain, html, *others = contents(after(message))
    assert plain == b"Hallo\n\nGr\xfc\xdfe\n"
    assert html == b"<html><body><p>Hallo<p>Gr&#252;&#223;e\n</body></html>"
    assert others == [b"file", b"inner", b"signed", b"sig"]


def test_text_goes_to_all_texts_but_attachments_and_signed_ones() -> None:
    message = make(HEAD + TEXTS)
    assert message.append_text("end", all=True) == 2
    assert contents(after(message)) == [
        b"Hallo\n\nend\n",
        b"<html><body><p>Hallo</body></html>",
        b"file",
        b"inner\n\nend\n",
        b"signed",
        b"sig",
    ]


def test_additions_add_up_and_stand_before_the_text_if_wanted() -> None:
    message = make(b"Subject: x\n\nbody\n")
    message.append_text("one")
    message.append_text("two")
    message.append_text("zero", prepend=True)
    tree = after(message)
    assert tree.root.content == b"zero\n\nbody\n\none\n\ntwo\n"
    assert tree.root.headers.all("subject") == [b"x"]


def test_text_goes_to_what_a_part_was_replaced_by_and_not_to_what_was_dropped() -> None:
    message = make(HEAD + b"--b\n\none\n--b\n\ntwo\n--b--\n")
    one, two = message.root.children
    one.drop()
    two.replace("new\n")
    assert message.append_text("end", all=True) == 1
    assert contents(after(message)) == [b"new\n\nend\n"]


def test_new_text_is_eight_bit_if_the_client_announced_it() -> None:
    told = COMMANDS.replace(b"sSIZE=100\n", b"sSIZE=100\nsBODY=8BITMIME\n")
    message = make(b"Content-Type: text/plain; charset=utf-8\n\nbody\n", told)
    message.append_text("Grüße")
    assert after(message).root.transfer_encoding == "8bit"


def test_html_that_says_the_same_is_removed() -> None:
    message = make(HEAD + TEXTS)
    assert message.remove_redundant_html()
    assert not message.remove_redundant_html()
    assert contents(after(message)) == [b"Hallo", b"file", b"inner", b"signed", b"sig"]


def test_html_stays_where_there_is_no_text() -> None:
    message = make(HEAD.replace(b"mixed", b"alternative") + b"--b\nContent-Type: text/html\n\n<p>\n--b--\n")
    assert not message.remove_redundant_html()
    assert message.finish_body() is None


def test_a_container_gives_its_place_to_its_last_part_if_the_site_wants_it() -> None:
    raw = HEAD.replace(b"mixed", b"alternative") + b"--b\n\none\n--b\nContent-Type: text/html\n\n<p>\n--b--\n"
    for collapse, content_type in ((True, "text/plain"), (False, "multipart/alternative")):
        message = make(raw, collapse=collapse)
        message.remove_redundant_html()
        assert after(message).root.content_type == content_type


def test_warnings_stand_in_the_text_if_the_site_wants_it() -> None:
    message = make(HEAD + TEXTS, inline_warnings=True, warning_intro="Ask {admin}.", admin="me")
    message.warn("<a> was removed")
    plain, html, *others = contents(after(message))
    assert plain == b"Hallo\n\n" + b"=" * 75 + b"\nAsk me.\n<a> was removed\n"
    assert b"<p>Hallo<hr>\n<pre>\nAsk me.\n&lt;a&gt; was removed\n</pre>\n</body>" in html
    assert len(others) == 4


def test_warnings_get_a_part_where_no_text_is_shown() -> None:
    message = make(b"Content-Type: image/png\n\nx\n", inline_warnings=True, warning_intro="")
    message.warn("removed")
    assert contents(after(message)) == [b"removed\n", b"x\n"]


def test_nothing_is_added_in_wrapup(caplog: pytest.LogCaptureFixture) -> None:
    message = make(b"\nbody\n")
    assert message.finish_body() is None
    assert message.append_text("x") == message.append_html("x") == 0
    assert not message.root.append_text("x")
    assert not message.remove_redundant_html()
    assert caplog.text.count("has no effect in filter_wrapup") == 4


# Names


def test_a_part_is_defanged_without_a_change_of_its_body() -> None:
    raw = HEAD + b'--b\nX: 1\nContent-Type: a/b; name="x.exe"\n\nMZ\n--b--\n'
    message = make(raw)
    message.root.children[0].defang(warning="renamed")
    warning, part = after(message).root.children
    assert warning.text.endswith("renamed\n")
    assert (part.content_type, part.filenames) == ("application/octet-stream", ("x.exe.bin",))
    assert (part.headers.get("x"), part.raw_body) == (b"1", b"MZ")


# Signed parts


def test_a_change_inside_a_signed_part_refuses_the_message(caplog: pytest.LogCaptureFixture) -> None:
    message = make(HEAD + TEXTS)
    inside = message.root.children[3].children[0]
    assert inside.is_protected
    assert not inside.append_text("x")
    inside.drop()
    assert message.signature_forecast().refused
    assert message.finish_body() is None
    assert message.verdict is not None
    assert (message.verdict.code, message.verdict.dsn) == (554, "5.6.0")
    assert "part 4" in caplog.text


def test_a_signed_part_may_be_dropped_as_a_whole() -> None:
    message = make(HEAD + TEXTS)
    message.root.children[3].drop()
    assert message.signature_forecast().parts[0].outcome is Outcome.REMOVED
    assert b"signed" not in contents(after(message))


DKIM = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.example; s=x; h=From:Content-Type;\n"
    b" bh=g3zLYH4xKxcPrHOD18z9YfpQcnk/GaJedfustWU5uGs=; b=\n"
)


def test_forecast_tells_what_the_changes_so_far_leave_valid() -> None:
    message = make(DKIM + b"From: ann\nContent-Type: text/plain\n\ntest\n")
    (before,) = message.signature_forecast().headers
    assert before.survives
    assert before.domain == "a.example"
    message.headers.add("X-Scanned", "yes")
    assert message.signature_forecast().all_survive
    message.append_text("footer")
    (footer,) = message.signature_forecast().headers
    assert (footer.header_survives, footer.body_survives) == (True, False)
    message.warn("a part of its own")
    (wrapped,) = message.signature_forecast().headers
    assert (wrapped.header_survives, wrapped.body_survives) == (False, False)


def test_forecast_sees_edits_of_the_header() -> None:
    message = make(DKIM + b"From: ann\n\ntest\n")
    message.headers.replace("From", "bob")
    assert not message.signature_forecast().headers[0].header_survives


# Shadow parts


def shadow(message: Message, name: str = "blocked.exe") -> Part:
    return next(part for part in message.shadow_parts if name in part.filenames)


def test_defects_and_shadow_parts_are_told() -> None:
    message = make(HEAD + EPILOGUE)
    part = shadow(message)
    assert (part.is_shadow, part.data[:3], part.head(2), part.children) == (True, b"two", b"tw", ())
    assert part.view != "primary"
    assert message.root.view == "primary"
    assert not message.root.is_shadow
    assert part.parent is message.root
    assert message.worst_defect >= Severity.MEDIUM
    assert "content-in-epilogue" in {defect.name for defect in message.defects}
    assert "content-in-epilogue" in {defect.name for defect in message.root.defects}


def test_ordinary_mail_has_no_defects_and_no_shadows() -> None:
    message = make(HEAD + b"--b\n\none\n--b--\n")
    assert message.defects == message.root.defects == ()
    assert message.shadow_parts == ()
    assert message.worst_defect is Severity.INFO


def test_a_dropped_shadow_part_is_gone_from_every_reading() -> None:
    message = make(HEAD + EPILOGUE)
    shadow(message).drop()
    tree = after(message)
    assert contents(tree) == [b"one"]
    assert examine(tree).shadows == ()


def test_a_dropped_part_of_an_ambiguous_message_is_gone_from_every_reading() -> None:
    message = make(HEAD + EPILOGUE)
    message.root.children[0].replace("gone\n")
    tree = after(message)
    assert contents(tree) == [b"gone\n"]
    assert examine(tree).view_count == 1


def test_a_shadow_part_that_is_kept_becomes_an_attachment() -> None:
    message = make(HEAD + EPILOGUE)
    shadow(message).keep()
    message.root.children[0].drop()
    (part,) = after(message).root.children
    assert (part.filename, part.disposition, part.content[:3]) == ("blocked.exe", "attachment", b"two")


def test_a_replaced_shadow_part_is_replaced() -> None:
    message = make(HEAD + EPILOGUE)
    shadow(message).replace("instead\n")
    assert contents(after(message)) == [b"one", b"instead\n"]


def test_a_file_within_a_text_is_cut_out() -> None:
    message = make(b"Subject: x\n\n" + UUENCODED)
    shadow(message).drop(warning="removed")
    warning, text = after(message).root.children
    assert warning.filename == "warning.txt"
    assert text.content == b"before\nafter\n"


def test_a_file_within_a_text_of_an_ambiguous_message_goes_with_the_text() -> None:
    message = make(HEAD + b"--b\n\n" + UUENCODED + EPILOGUE)
    next(part for part in message.shadow_parts if part.view == "uuencode").drop()
    tree = after(message)
    assert all(b"begin 644" not in leaf.content for leaf in tree.leaves())
    assert examine(tree).shadows == ()


def test_a_file_within_a_signed_text_cannot_be_cut_out() -> None:
    signed = (
        b"Content-Type: multipart/signed; boundary=b\n\n--b\n\n" + UUENCODED + b"--b\nContent-Type: x/y\n\ns\n--b--\n"
    )
    message = make(signed)
    shadow(message).drop()
    assert message.finish_body() is None
    assert message.verdict is not None


def test_text_outside_of_parts_goes_by_itself() -> None:
    message = make(HEAD + b"Something that only some programs show, in many words.\n--b\n\none\n--b--\n")
    for part in message.shadow_parts:
        part.drop()
    rebuilt = message.finish_body()
    assert rebuilt is not None
    assert (rebuilt.content_type, rebuilt.to_bytes()) == (None, b"--b\n\none\n--b--\n")


# Web addresses


def test_tracking_parameters_leave_texts_and_html_in_their_charsets_and_encodings() -> None:
    message = make(
        HEAD + b"--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
        b"Gr=C3=BC=C3=9Fe  http://a.example/?utm_source=3Dx&id=3D1\n\n  end\n"
        b'--b\nContent-Type: text/html; charset=iso-8859-1\n\n<a title="\xfc" href="http://a.example/?utm_a=1">\xdf</a>\n'
        b"--b\nContent-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\n"
        + b64encode("http://a.example/?utm_a=1 \u010d".encode("utf-16-le"))
        + b"\n--b\nContent-Type: text/plain\nContent-Disposition: attachment\n\nhttp://a.example/?utm_a=1\n--b--\n"
    )
    assert message.strip_tracking_params() == 3
    plain, html, wide, attached = contents(after(message))
    assert plain == "Gr\u00fc\u00dfe  http://a.example/?id=1\n\n  end".encode()
    assert html == b'<a title="\xfc" href="http://a.example/">\xdf</a>'
    assert wide.decode("utf-16-le") == "http://a.example/ \u010d"
    assert attached == b"http://a.example/?utm_a=1"


def test_message_without_tracking_parameters_is_not_rewritten() -> None:
    message = make(HEAD + TEXTS)
    assert message.strip_tracking_params(("utm_*", "gclid")) == 0
    assert message.finish_body() is None


def test_part_that_was_renamed_stays_so_when_its_text_is_edited() -> None:
    message = make(HEAD + TEXTS)
    part = message.root.children[1]
    part.defang("b.txt")
    assert part.append_text("more")
    renamed = [leaf for leaf in after(message).leaves() if leaf.filename == "b.txt"]
    assert [leaf.content for leaf in renamed] == [b"file\n\nmore\n"]


def test_part_that_was_edited_keeps_the_edit_when_it_is_renamed() -> None:
    message = make(HEAD + TEXTS)
    part = message.root.children[1]
    part.drop()
    part.replace("other", filename="c.exe")
    part.defang("c.bin")
    assert not part.is_dropped
    assert [leaf.content for leaf in after(message).leaves() if leaf.filename == "c.bin"] == [b"other\n"]


def test_type_with_a_line_end_cannot_be_given_to_a_part() -> None:
    with pytest.raises(ValueError, match="no content type"):
        make(HEAD + TEXTS).root.children[1].defang(content_type="text/plain\nX-Injected: yes")
