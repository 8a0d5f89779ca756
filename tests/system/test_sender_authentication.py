# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/dmarc.py and arc_seal.py in the whole chain, with a nameserver of the tests' own.

DMARC: what becomes of mail from anywhere, an MTA being played, for no client of real ones has an address of another
host here. ARC: what a next host finds of mail that real mail servers have handed on.
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dkim
import pytest

from defang_worker.checks import ArcResult, ArcSealer, ArcWord, DkimKey, DkimSigner, Outcome
from tests.support.daemons import USER, Chain, Daemons, private_home, running
from tests.support.dns_server import DnsServer, Fault
from tests.support.mail_site import MILTER_OPTIONS, Site, mail_site
from tests.support.mta import POSTFIX, SENDMAIL, Client, Habits, Milter
from tests.support.mta import Outcome as Played
from tests.support.process import wait_until
from tests.support.smtp_client import submit
from tests.system.test_dkim_signing import make_postfix, make_sendmail
from tests.worker.checks.auth.mail import rsa_key
from tests.worker.checks.auth.vectors import RFC8463_ED25519_KEY, RFC8463_SEED

pytestmark = pytest.mark.system

FILTERS = Path(__file__).parents[2] / "docs" / "filters"
ANSWER_LIMIT_S = 60
US = Client(address=b"192.0.2.7", hostname=b"mail.example.com", helo=b"mail.example.com")
STRANGER = Client(address=b"198.51.100.66", hostname=b"[198.51.100.66]", helo=b"other.example")
LIST = Client(address=b"203.0.113.9", hostname=b"lists.example.net", helo=b"lists.example.net")
# With more labels than a walk asks for.
DEEP = "a.b.c.d.e.f.g.h.deep.example.com"

RECORDS = f"""
example.com TXT "v=spf1 ip4:192.0.2.7 -all"
_dmarc.example.com TXT "v=DMARC1; p=reject; sp=quarantine; np=reject; rua=mailto:x@example.com"
sub.example.com A 192.0.2.8
{DEEP} A 192.0.2.8
bounce.example.com TXT "v=spf1 ip4:192.0.2.7 -all"
_dmarc.quarantine.example TXT "v=DMARC1; p=quarantine"
_dmarc.none.example TXT "v=DMARC1; p=none"
_dmarc.testing.example TXT "v=DMARC1; p=reject; t=y"
_dmarc.strict.example TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
sub.strict.example TXT "v=spf1 ip4:192.0.2.7 -all"
nopolicy.example A 192.0.2.8
_dmarc.psd.example TXT "v=DMARC1; p=reject; psd=y"
one.psd.example A 192.0.2.8
mail.one.psd.example TXT "v=spf1 ip4:192.0.2.7 -all"
two.psd.example TXT "v=spf1 ip4:192.0.2.7 -all"
_dmarc.own.example.com TXT "v=DMARC1; p=none; psd=n"
own.example.com TXT "v=spf1 ip4:192.0.2.7 -all"
other.example TXT "v=spf1 ip4:198.51.100.66 -all"
lists.example.net TXT "v=spf1 ip4:203.0.113.9 -all"
7.2.0.192.in-addr.arpa PTR mail.example.com
mail.example.com A 192.0.2.7
s._domainkey.example.com TXT "{RFC8463_ED25519_KEY}"
s._domainkey.sub.example.com TXT "{RFC8463_ED25519_KEY}"
s._domainkey.example.net TXT "{RFC8463_ED25519_KEY}"
s._domainkey.sub.strict.example TXT "{RFC8463_ED25519_KEY}"
"""
OVERRIDE = """

DmarcEnforcement.dmarc = Dmarc(resolver={names!r}, timeout_s=8, on_failure="tempfail")
DmarcEnforcement.arc = Arc(resolver={names!r}, timeout_s=8, on_failure="ignore")
DmarcEnforcement.client = ReverseName(resolver={names!r}, timeout_s=8, on_failure="ignore")
"""
SEALER_RECORD = " ".join(f'"{rsa_key()[1][at : at + 200]}"' for at in range(0, len(rsa_key()[1]), 200))


@dataclass(frozen=True, slots=True)
class Running:
    """The chain with the filter, and what its nameserver knows."""

    address: str
    names: DnsServer
    daemons: Daemons


@pytest.fixture(scope="module")
def chain() -> Iterator[Running]:
    with private_home("dmarc-") as home, DnsServer(RECORDS) as names:
        names.add(f"arc._domainkey.lists.example.org TXT {SEALER_RECORD}")
        source = home / "dmarc.py"
        source.write_text((FILTERS / "dmarc.py").read_text() + OVERRIDE.format(names=names.address))
        with running(Chain(filter=source), home=home) as daemons:
            yield Running(daemons.milter_address, names, daemons)


def letter(author: str = "joe@example.com", *, before: str = "", text: str = "Hi.") -> bytes:
    lines = [
        *(before.splitlines() if before else []),
        *(f"From: {author}", "To: bob@example.org", "Subject: hello", "Date: Mon, 05 Jan 2026 10:00:00 +0000"),
        *(f"Message-ID: <1@{author.rpartition('@')[2].rstrip('>')}>", "", text, ""),
    ]
    return "\r\n".join(lines).encode()


def signed(raw: bytes, domain: str) -> bytes:
    (value,) = DkimSigner(DkimKey(domain, "s", RFC8463_SEED)).signatures(raw)
    return b"DKIM-Signature: " + value.replace("\n", "\r\n").encode() + b"\r\n" + raw


_queue_ids = (b"Q%d" % number for number in itertools.count(1))


def play(chain: Running, raw: bytes, sender: str, client: Client = US, habits: Habits = SENDMAIL) -> Played:
    with Milter(chain.address, timeout_s=ANSWER_LIMIT_S) as milter:
        return milter.send(raw, sender=f"<{sender}>".encode(), client=client, queue_id=next(_queue_ids), habits=habits)


def fields(played: Played, name: bytes) -> list[str]:
    """The values of the fields that are delivered, each as one line."""
    assert played.message is not None
    found = [one.after_colon for one in played.message.headers if one.name.lower() == name.lower()]
    return [" ".join(value.decode().split()) for value in found]


def told(played: Played) -> str:
    """What the field of ours says, and that it stands on top."""
    assert played.message is not None
    assert played.message.headers[0].name == b"Authentication-Results"
    head, _, results = fields(played, b"Authentication-Results")[0].partition("; ")
    assert head == "mx.example.org"
    return results


# DMARC


@pytest.mark.parametrize("habits", [SENDMAIL, POSTFIX], ids=["Sendmail", "Postfix"])
def test_mail_that_spf_vouches_for_passes_and_says_so(chain: Running, habits: Habits) -> None:
    played = play(chain, letter(), "joe@example.com", habits=habits)
    assert told(played) == (
        "spf=pass smtp.mailfrom=joe@example.com; dkim=none; dmarc=pass header.from=example.com policy.dmarc=reject;"
        " arc=none; iprev=pass (mail.example.com) policy.iprev=192.0.2.7"
    )
    assert fields(played, b"X-DMARC") == []


def test_mail_that_a_signature_vouches_for_passes_from_anywhere(chain: Running) -> None:
    played = play(chain, signed(letter(), "example.com"), "bounce@other.example", STRANGER)
    assert re.fullmatch(
        r"spf=pass smtp\.mailfrom=bounce@other\.example; dkim=pass \(256-bit key\) header\.d=example\.com"
        r" header\.i=@example\.com header\.s=s header\.a=ed25519-sha256 header\.b=\S{8,10};"
        r" dmarc=pass header\.from=example\.com policy\.dmarc=reject; arc=none;"
        r" iprev=permerror policy\.iprev=198\.51\.100\.66",
        told(played),
    )


@pytest.mark.parametrize(
    ("author", "sender", "client", "signer"),
    [
        # Of the same organization, by a walk up to its record.
        ("joe@example.com", "x@bounce.example.com", US, None),
        ("joe@sub.example.com", "x@other.example", STRANGER, "example.com"),
        ("joe@example.com", "x@other.example", STRANGER, "sub.example.com"),
        (f"joe@{DEEP}", "x@bounce.example.com", US, None),
        # Below a public suffix that says so; of a domain that says that it is an organization.
        ("joe@one.psd.example", "x@mail.one.psd.example", US, None),
        ("joe@own.example.com", "x@own.example.com", US, None),
        ("Joe <joe@EXAMPLE.com>", "x@Example.Com", US, None),
    ],
)
def test_mail_that_is_aligned_passes(
    chain: Running, author: str, sender: str, client: Client, signer: str | None
) -> None:
    raw = letter(author)
    played = play(chain, signed(raw, signer) if signer else raw, sender, client)
    assert "; dmarc=pass " in told(played)
    assert fields(played, b"X-DMARC") == []


@pytest.mark.parametrize(
    ("author", "sender", "client", "signer"),
    [
        ("joe@example.com", "x@other.example", STRANGER, None),
        ("joe@example.com", "joe@example.com", STRANGER, None),
        ("joe@example.com", "x@other.example", STRANGER, "example.net"),
        # np=, for it does not exist.
        ("joe@absent.example.com", "x@other.example", STRANGER, None),
        # Alignment is strict, of both.
        ("joe@strict.example", "x@sub.strict.example", US, "sub.strict.example"),
        # Two organizations below one public suffix.
        ("joe@one.psd.example", "x@two.psd.example", US, None),
    ],
)
def test_mail_that_the_domain_wants_refused_is_refused(
    chain: Running, author: str, sender: str, client: Client, signer: str | None
) -> None:
    raw = letter(author)
    played = play(chain, signed(raw, signer) if signer else raw, sender, client)
    assert (played.code, played.message) == (550, None)
    assert played.reply is not None
    assert b"asks for mail such as this to be refused" in played.reply.text


@pytest.mark.parametrize(
    ("author", "policy"),
    [
        ("joe@quarantine.example", "policy.dmarc=quarantine"),
        # sp=, for it exists.
        ("joe@sub.example.com", "policy.dmarc=quarantine"),
        (f"joe@{DEEP}", "policy.dmarc=quarantine"),
        # t=y: one step less.
        ("joe@testing.example", "policy.dmarc=reject"),
    ],
)
def test_mail_that_the_domain_is_suspicious_of_is_marked(chain: Running, author: str, policy: str) -> None:
    played = play(chain, letter(author), "x@other.example", STRANGER)
    domain = author.partition("@")[2]
    assert fields(played, b"X-DMARC") == [f"fail, {domain} is suspicious of it"]
    assert "; dmarc=fail (disposition quarantine" in told(played)
    assert f" header.from={domain} {policy};" in told(played)


@pytest.mark.parametrize(
    ("author", "result"),
    [
        ("joe@none.example", "dmarc=fail (disposition none) header.from=none.example policy.dmarc=none"),
        ("joe@nopolicy.example", "dmarc=none header.from=nopolicy.example"),
    ],
)
def test_mail_of_a_domain_that_asks_for_nothing_passes(chain: Running, author: str, result: str) -> None:
    played = play(chain, letter(author), "x@other.example", STRANGER)
    assert f"; {result};" in told(played)
    assert fields(played, b"X-DMARC") == []


def test_walk_asks_for_eight_names(chain: Running) -> None:
    author = f"i.j.{DEEP}"
    play(chain, letter(f"joe@{author}"), "x@other.example", STRANGER)
    asked = [name for name in chain.names.names_asked() if name.startswith("_dmarc.") and "deep.example.com" in name]
    assert f"_dmarc.{author}" in asked
    assert {name for name in asked if name.startswith("_dmarc.i.j.")} == {f"_dmarc.{author}"}
    assert "_dmarc.e.f.g.h.deep.example.com" in asked
    assert "_dmarc.d.e.f.g.h.deep.example.com" not in asked


@pytest.mark.parametrize(
    "raw",
    [
        letter(before="From: joe@none.example"),
        letter("joe@example.com, jane@none.example"),
        letter().replace(b"From: joe@example.com\r\n", b""),
        letter("nobody"),
    ],
)
def test_message_without_one_author_is_refused(chain: Running, raw: bytes) -> None:
    played = play(chain, raw, "joe@example.com")
    assert (played.code, played.message) == (554, None)


@pytest.mark.parametrize("part", ["policy", "spf"])
@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.SILENT])
def test_mail_waits_while_the_dns_does_not_answer(chain: Running, part: str, fault: Fault) -> None:
    """Neither is anything refused then, nor let pass; and the next try finds what holds."""
    # A domain of its own each time, for workers remember what they were told.
    domain = f"{part}-{fault.name.lower()}.example"
    chain.names.add(f'_dmarc.{domain} TXT "v=DMARC1; p=reject"\n{domain} TXT "v=spf1 ip4:192.0.2.7 -all"')
    name = f"_dmarc.{domain}" if part == "policy" else domain
    chain.names.faults[name] = fault
    try:
        refused = play(chain, letter(f"joe@{domain}"), f"joe@{domain}")
    finally:
        del chain.names.faults[name]
    assert refused.code == 451
    cause = "deferred, could not be checked: dmarc"
    wait_until(lambda: cause in chain.daemons.logs(), f"the log says: {cause}")
    assert "; dmarc=pass " in told(play(chain, letter(f"joe@{domain}"), f"joe@{domain}"))


def test_forged_results_are_not_delivered_and_those_of_others_are(chain: Running) -> None:
    forged = [
        "mx.example.org; dmarc=pass header.from=example.com",
        '"MX.example.org" (x) 1; spf=pass',
        "(mx.example.org;)mx.example.org.;\r\n dkim=pass",
        "mx . example . org; spf=pass",
    ]
    others = ["other.example; spf=pass", "a.mx.example.org; spf=fail"]
    before = "\r\n".join(f"Authentication-Results: {one}" for one in [forged[0], others[0], *forged[1:], others[1]])
    for habits in (SENDMAIL, POSTFIX):
        played = play(chain, letter(before=before), "joe@example.com", habits=habits)
        assert fields(played, b"Authentication-Results")[1:] == others
        assert told(played).startswith("spf=pass smtp.mailfrom=joe@example.com; dkim=none; dmarc=pass ")


def test_words_of_strangers_stay_in_their_quotes(chain: Running) -> None:
    client = Client(address=b"198.51.100.66", hostname=b"x", helo=b"evil;dkim=pass(")
    played = play(chain, letter("joe@none.example"), '"a; dmarc=pass header.from="@other.example', client)
    assert told(played).startswith('spf=pass smtp.mailfrom="a? dmarc?pass header.from=@other.example"; dkim=none; ')
    null = play(chain, letter("joe@none.example"), "", client)
    assert re.match(r'spf=\w+ smtp\.helo="evil\?dkim\?pass\?"; dkim=none; ', told(null))


def test_known_lists_pass_by_spf_or_by_their_seal(chain: Running) -> None:
    by_spf = play(chain, letter(), "bounce@lists.example.net", LIST)
    assert fields(by_spf, b"X-DMARC") == ["fail, from a list"]
    none = ArcResult(check="arc", outcome=Outcome.NOT_APPLICABLE, word=ArcWord.NONE)
    found = "lists.example.org; dmarc=pass header.from=example.com"
    sealer = ArcSealer(DkimKey("lists.example.org", "arc", rsa_key()[0]))
    made = sealer.header_fields(letter(), found, none)
    seal = "".join(f"{name}: {value}\n" for name, value in reversed(made)).replace("\n", "\r\n").encode()
    by_seal = play(chain, seal + letter(), "bounce@other.example", STRANGER)
    assert fields(by_seal, b"X-DMARC") == ["fail, but it was authentic before lists.example.org"]
    assert "; arc=pass (i=1 by lists.example.org) smtp.remote-ip=198.51.100.66 header.oldest-pass=0;" in told(by_seal)
    broken = play(chain, seal + letter(text="Ho."), "bounce@other.example", STRANGER)
    assert broken.code == 550


# ARC, behind real mail servers


@pytest.fixture(scope="module", params=[make_sendmail, make_postfix], ids=["Sendmail", "Postfix"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with private_home("arc-") as home, DnsServer('_dmarc.example.com TXT "v=DMARC1; p=reject"') as names:
        names.add(f"arc._domainkey.lists.example.org TXT {SEALER_RECORD}")
        names.add(f's._domainkey.example.com TXT "{RFC8463_ED25519_KEY}"')
        key = home / "dkim.key"
        key.write_bytes(rsa_key()[0])
        key.chmod(0o400)
        shutil.chown(key, USER, USER)
        source = (FILTERS / "arc_seal.py").read_text().replace('"/etc/mail/dkim.key"', repr(str(key)))
        source += (
            f"\n\nArcSeal.arc = Arc(resolver={names.address!r})\nArcSeal.dmarc = Dmarc(resolver={names.address!r})\n"
        )
        (home / "sealing.py").write_text(source)
        with mail_site(request.param, Chain(filter=home / "sealing.py", milter_options=MILTER_OPTIONS)) as running_site:
            yield running_site


def handed_on(site: Site, raw: bytes, recipient: str) -> bytes:
    """The message as it arrives behind the mail server."""
    reply = submit(site.receiver.port, raw, sender="joe@example.com", recipients=[recipient])
    assert (reply.command, reply.code) == ("content", 250), (reply, site.daemons.logs()[-2000:])
    return site.sink.wait_for(recipient.encode()).content


def dkimpys_word(raw: bytes) -> bytes | None:
    return dkim.arc_verify(raw, dnsfunc=lambda *_, **__: rsa_key()[1].encode())[0]


def test_next_host_finds_a_chain_that_holds(site: Site) -> None:
    forged = "Authentication-Results: mx.example.org; dmarc=pass header.from=forged.example"
    first = handed_on(site, signed(letter(before=forged), "example.com"), "first@example.net")
    assert b"This mail came through lists.example.org." in first
    assert dkimpys_word(first) == b"pass"
    assert first.count(b"\r\nARC-Seal: i=1; cv=none;") + first.startswith(b"ARC-Seal: i=1; cv=none;") == 1
    assert b"dmarc=pass header.from=example.com policy.dmarc=reject" in " ".join(first.decode().split()).encode()
    assert b"forged" not in first
    again = handed_on(site, first, "second@example.net")
    assert dkimpys_word(again) == b"pass"
    assert b"ARC-Seal: i=2; cv=pass;" in again
    assert b"arc=pass (i=1 by lists.example.org)" in " ".join(again.decode().split()).encode()


def test_chain_that_was_broken_on_the_way_is_ended(site: Site) -> None:
    first = handed_on(site, letter(), "third@example.net")
    ended = handed_on(site, first.replace(b"Subject: hello", b"Subject: bye"), "fourth@example.net")
    assert b"ARC-Seal: i=2; cv=fail;" in ended
    assert dkimpys_word(ended) is None
