# SPDX-License-Identifier: GPL-3.0-or-later
"""Who the client of another mail server was: told under a key, and believed of nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings, relay_header
from tests.worker.conftest import COMMANDS

RAW = b"Subject: x\n\nhello\n"
NOW = 1_790_000_000


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: float(NOW))


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text("0123456789abcdef" * 4 + "\n")
    return str(path)


def message(raw: bytes, told: bytes = COMMANDS, **settings: object) -> Message:
    return Message(commands.decode(told), raw, "/nowhere", Settings(**settings))  # type: ignore[arg-type]


def signed(key: str, told: bytes = COMMANDS) -> bytes:
    """The message as a secondary mail server hands it on."""
    secondary = message(RAW, told, relay_key_file=key)
    secondary.add_relay_header()
    value = secondary.headers.get("X-Defang-Relay")
    assert value
    return f"X-Defang-Relay: {value}\n".encode() + RAW


PRIMARY = COMMANDS.replace(b"I192.0.2.7", b"I198.51.100.1")


def test_client_of_the_secondary_is_the_client_in_the_primary(key: str) -> None:
    primary = message(signed(key), PRIMARY, relay_key_file=key)
    envelope = primary.envelope
    assert (envelope.client_ip, envelope.client_name, envelope.was_relayed) == ("192.0.2.7", "[192.0.2.7]", True)
    assert (envelope.connecting_ip, envelope.connecting_name) == ("198.51.100.1", "client.example.com")


def test_field_is_deleted_before_anybody_else_sees_it(key: str) -> None:
    primary = message(signed(key), PRIMARY, relay_key_file=key)
    assert "X-Defang-Relay" not in primary.headers
    assert [str(line) for line in primary.headers.changes()] == ["DeleteHeader(name=b'X-Defang-Relay', index=1)"]


def test_ipv6_client_is_told_too(key: str) -> None:
    told = COMMANDS.replace(b"I192.0.2.7", b"I2001:db8::7")
    assert message(signed(key, told), PRIMARY, relay_key_file=key).envelope.client_ip == "2001:db8::7"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ip=192.0.2.7", b"ip=192.0.2.8"),
        (b"id=Q1", b"id=Q2"),
        (b"t=1790000000", b"t=1790000001"),
        (b"v=1", b"v=2"),
        (b"h=", b"h=0"),
        (b"X-Defang-Relay: v=1;", b"X-Defang-Relay: "),
    ],
)
def test_field_that_was_tampered_with_is_not_believed_and_deleted(
    key: str, old: bytes, new: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    raw = signed(key)
    assert old in raw
    primary = message(raw.replace(old, new, 1), PRIMARY, relay_key_file=key)
    assert (primary.envelope.client_ip, primary.envelope.was_relayed) == ("198.51.100.1", False)
    assert "X-Defang-Relay" not in primary.headers
    assert "not believed" in caplog.text


def test_field_of_one_sender_says_nothing_of_another_one(key: str) -> None:
    other = PRIMARY.replace(b"S<alice@example.com>", b"S<mallory@example.com>")
    assert not message(signed(key), other, relay_key_file=key).envelope.was_relayed


def test_field_with_another_key_is_not_believed(key: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another key, long enough to be one")
    assert not message(signed(key), PRIMARY, relay_key_file=str(other)).envelope.was_relayed


@pytest.mark.parametrize(("later_s", "is_believed"), [(6 * 86400, True), (8 * 86400, False), (-7200, False)])
def test_field_is_good_for_a_week(
    key: str, later_s: int, *, is_believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = signed(key)
    monkeypatch.setattr("time.time", lambda: float(NOW + later_s))
    assert message(raw, PRIMARY, relay_key_file=key).envelope.was_relayed is is_believed


def test_forged_field_before_the_true_one_does_not_hide_it(key: str) -> None:
    raw = b"X-Defang-Relay: v=1; ip=203.0.113.9; id=; t=1790000000; h=" + b"0" * 64 + b"\n" + signed(key)
    primary = message(raw, PRIMARY, relay_key_file=key)
    assert primary.envelope.client_ip == "192.0.2.7"
    assert "X-Defang-Relay" not in primary.headers


@pytest.mark.parametrize(("networks", "is_believed"), [(("198.51.100.0/24",), True), (("203.0.113.1", "::1"), False)])
def test_only_trusted_relays_are_believed_if_there_are_any(
    key: str, networks: tuple[str, ...], *, is_believed: bool
) -> None:
    primary = message(signed(key), PRIMARY, relay_key_file=key, trusted_relays=networks)
    assert primary.envelope.was_relayed is is_believed


@pytest.mark.parametrize(("network", "is_believed"), [("198.51.100.1", True), ("203.0.113.1", False)])
def test_trusted_relays_hold_for_the_older_form_that_the_front_end_reads(network: str, *, is_believed: bool) -> None:
    told = PRIMARY.replace(b"\nF\n", b"\nJ192.0.2.7\nF\n")
    assert message(RAW, told, trusted_relays=(network,)).envelope.was_relayed is is_believed


def test_without_a_key_the_field_means_nothing(key: str) -> None:
    raw = signed(key)
    unset = message(raw, PRIMARY)
    assert not unset.envelope.was_relayed
    assert "X-Defang-Relay" in unset.headers
    with pytest.raises(ValueError, match="relay_key_file"):
        unset.add_relay_header()


def test_missing_and_short_keys_are_errors(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("secret")
    with pytest.raises(ValueError, match="32 bytes"):
        message(RAW, relay_key_file=str(short)).add_relay_header()
    with pytest.raises(FileNotFoundError):
        message(RAW, relay_key_file=str(tmp_path / "none")).add_relay_header()


def test_client_without_an_address_cannot_be_told(key: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        message(RAW, COMMANDS.replace(b"I192.0.2.7", b"I"), relay_key_file=key).add_relay_header()


def test_trusted_relays_that_are_no_networks_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="mx2"):
        Settings(trusted_relays=("mx2.example.org",))


def test_name_of_the_field_is_in_the_manual() -> None:
    manual = Path(__file__).parents[2] / "docs" / "writing-filters.md"
    assert relay_header.FIELD_NAME in manual.read_text()
