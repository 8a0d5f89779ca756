# SPDX-License-Identifier: GPL-3.0-or-later
"""Virus scanners that are real: ClamAV's daemon with a signature of our own, asked by worker and whole chain."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Clamd, CommandScanner, Outcome
from defang_worker.checks.budget import Deadline
from tests.support.clamav import EICAR, MAX_BYTES, VIRUS_NAME, RealClamd, running_clamd
from tests.support.daemons import Chain, private_home, running
from tests.support.mta import Verdict
from tests.support.tnef_maker import START, attachment
from tests.system.interop.messages import Transaction
from tests.system.interop.told import play

pytestmark = pytest.mark.system

FILTER = """
from defang_worker import Filter, Settings
from defang_worker.checks import Clamd

class Site(Filter):
    settings = Settings(record_log={record!r})
    clamd = Clamd({address!r}, timeout_s=20)

    def filter_begin(self, message):
        result = message.run_checks(self.clamd)[self.clamd]
        if result.is_found:
            message.reject(f"Virus {{result.names[0]}}")
"""


@pytest.fixture(scope="module")
def clamd() -> Iterator[RealClamd]:
    with running_clamd() as found:
        yield found


def letter(text: str = "Hello\n") -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = "alice@example.com", "bob@example.org", "lunch"
    mail.set_content(text)
    return mail


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dir/eicar.com", content)
    return packed.getvalue()


def nested(content: bytes) -> bytes:
    """The content in a zip, attached in base64 to a message that is attached, as one in base64, to another."""
    inner, outer = letter(), letter()
    inner.add_attachment(zipped(content), maintype="application", subtype="zip", filename="a.zip")
    outer.add_attachment(b"", maintype="message", subtype="x-inner", filename="inner.eml")
    attached = next(outer.iter_attachments())
    attached.replace_header("Content-Type", "message/rfc822")
    attached.set_payload(base64.encodebytes(inner.as_bytes()).decode().replace("\n", "\r\n"))
    return outer.as_bytes()


def in_text(content: bytes) -> bytes:
    """The content as a file within the text, by uuencode, behind a field that hides it from many."""
    raw = letter().as_bytes().replace(b"Content-Transfer-Encoding: 7bit", b"Content-Transfer-Encoding: x-uuencode", 1)
    return raw.replace(b"Hello", b"begin 644 a.com\r\n" + _uuencoded(content) + b"`\r\nend")


def _uuencoded(data: bytes) -> bytes:
    lines = [binascii.b2a_uu(data[start : start + 45]) for start in range(0, len(data), 45)]
    return b"".join(line.rstrip(b"\n") + b"\r\n" for line in lines)


def in_winmail(content: bytes) -> bytes:
    """The content as an attachment in a winmail.dat."""
    raw = letter()
    packed = START + attachment(content, b"a.com\0")
    raw.add_attachment(packed, maintype="application", subtype="ms-tnef", filename="winmail.dat")
    return raw.as_bytes()


def in_second_type(content: bytes) -> bytes:
    """The content in a part that is a text by its first Content-Type, and a multipart by its second."""
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return (
        b'From: alice@example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="out"\r\n\r\n'
        b'--out\r\nContent-Type: text/plain\r\nContent-Type: multipart/mixed; boundary="in"\r\n\r\n'
        b"--in\r\nContent-Type: application/octet-stream; name=a.com\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        b"%b\r\n--in--\r\n--out--\r\n" % encoded
    )


HIDING_PLACES = {"nested": nested, "text": in_text, "winmail": in_winmail, "second-type": in_second_type}


def scan(check: Clamd | CommandScanner, raw: bytes) -> Message:
    message = Message(commands.decode(b"S<a@b>\nF\n"), raw.replace(b"\r\n", b"\n"), "/nowhere", Settings())
    message.scratch["result"] = message.run_checks(check)[check]
    return message


@pytest.mark.parametrize("by", ["socket", "tcp"])
def test_eicar_in_a_zip_in_a_nested_message_in_base64_is_found(clamd: RealClamd, by: str) -> None:
    check = Clamd(getattr(clamd, by), timeout_s=20)
    result = scan(check, nested(EICAR)).scratch["result"]
    assert (result.outcome, result.names) == (Outcome.FOUND, (VIRUS_NAME,))  # type: ignore[attr-defined]
    assert result.parts == ("2.2",)  # type: ignore[attr-defined]
    clean = scan(check, nested(b"harmless")).scratch["result"]
    assert clean.outcome is Outcome.NOT_FOUND  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", HIDING_PLACES)
@pytest.mark.parametrize("by", ["socket", "tcp"])
def test_virus_is_found_with_its_part_wherever_it_hides(clamd: RealClamd, by: str, place: str) -> None:
    check = Clamd(getattr(clamd, by), timeout_s=20)
    result = scan(check, HIDING_PLACES[place](EICAR)).scratch["result"]
    assert (result.outcome, result.names) == (Outcome.FOUND, (VIRUS_NAME,))  # type: ignore[attr-defined]
    assert result.parts  # type: ignore[attr-defined]
    clean = scan(check, HIDING_PLACES[place](b"harmless")).scratch["result"]
    assert clean.outcome is Outcome.NOT_FOUND  # type: ignore[attr-defined]


def test_clamd_tells_of_what_it_did_not_look_into(clamd: RealClamd) -> None:
    packed = EICAR
    for _ in range(15):  # its MaxRecursion is 10
        packed = zipped(packed)
    raw = letter()
    raw.add_attachment(packed, maintype="application", subtype="zip", filename="a.zip")
    result = scan(Clamd(clamd.socket), raw.as_bytes()).scratch["result"]
    assert result.outcome is Outcome.UNKNOWN  # type: ignore[attr-defined]
    assert "Limits.Exceeded" in result.detail  # type: ignore[attr-defined]


def test_more_than_clamd_takes_cannot_be_told(clamd: RealClamd) -> None:
    raw = letter("x" * 70 + "\n")
    raw.add_attachment(b"\n" * (MAX_BYTES + 1), maintype="text", subtype="plain", cte="8bit")
    result = scan(Clamd(clamd.tcp), raw.as_bytes()).scratch["result"]
    assert (result.outcome, result.detail) == (Outcome.UNKNOWN, "INSTREAM size limit exceeded.")  # type: ignore[attr-defined]


def test_version_and_reachability_are_told(clamd: RealClamd) -> None:
    there, gone = Clamd([clamd.socket, "/run/nobody.sock"]).features(Deadline.after(20))
    assert (there.is_reachable, there.version.startswith("ClamAV 1.")) == (True, True)
    assert (gone.is_reachable, gone.version) == (False, "")


def test_chain_refuses_the_virus_wherever_it_hides_and_passes_the_rest(clamd: RealClamd) -> None:
    with private_home("viruses-") as home:
        record = home / "spool" / "records"
        source = home / "site.py"
        source.write_text(FILTER.format(address=clamd.socket, record=str(record)))
        infected, clean = {}, {}
        with running(Chain(filter=source), home=home) as daemons:
            address = daemons.milter_address
            for place, hidden in HIDING_PLACES.items():
                infected[place], _ = play(address, Transaction(name="x", message=hidden(EICAR)), place.encode())
                clean[place], _ = play(address, Transaction(name="x", message=hidden(b"harmless")), b"CLEAN")
            logs = daemons.logs()
        records = [json.loads(line)["scanners"][0] for line in record.read_text().splitlines()]
    assert {place: told.verdict for place, told in infected.items()} == dict.fromkeys(HIDING_PLACES, Verdict.REJECT)
    assert {place: told.verdict for place, told in clean.items()} == dict.fromkeys(HIDING_PLACES, Verdict.ACCEPT)
    for told in infected.values():
        assert told.reply is not None
        assert VIRUS_NAME.encode() in told.reply.text
    for found, not_found in zip(records[::2], records[1::2], strict=True):
        assert (found["outcome"], found["names"]) == ("found", [VIRUS_NAME])
        assert found["parts"]
        assert not_found["outcome"] == "not-found"
    for place in HIDING_PLACES:
        assert re.search(rf"{place}: Worker \d+ stderr: check clamd: found in ", logs)


@pytest.mark.parametrize("preset", ["clamscan", "clamdscan"])
def test_clamavs_own_programs_find_it_too(clamd: RealClamd, preset: str) -> None:
    word = f"--database={clamd.database}" if preset == "clamscan" else f"--config-file={clamd.config}"
    check = CommandScanner.preset(preset, word, timeout_s=60)
    found, clean = (scan(check, nested(content)).scratch["result"] for content in (EICAR, b"harmless"))
    assert (found.outcome, found.names) == (Outcome.FOUND, (VIRUS_NAME,))  # type: ignore[attr-defined]
    assert "2.2" in found.parts  # type: ignore[attr-defined]
    assert clean.outcome is Outcome.NOT_FOUND  # type: ignore[attr-defined]
    (feature,) = check.features(Deadline.after(60))
    assert feature.version.startswith("ClamAV 1.")
