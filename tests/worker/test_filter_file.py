# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading a filter file, and refusing one that would not do what its author meant, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from defang_worker.api import filter_file
from defang_worker.api.filter_file import FilterNotLoaded
from defang_worker.api.hooks import HOOKS, FilterFault
from tests.worker.conftest import LoadFilter


def test_class_is_instantiated_and_only_its_own_callbacks_are_called(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        class Mine(Filter):
            settings = Settings(admin="me@example.org")
            def __init__(self):
                self.count = 0
            def filter_begin(self, message):
                self.count += 1
                raise ValueError(self.count)
        """
    )
    assert list(site.hooks) == ["filter_begin"]
    assert site.settings.admin == "me@example.org"
    for count in (1, 2):
        with pytest.raises(FilterFault, match=f"filter_begin: {site.path}:8: ValueError: {count}"):
            site.call("filter_begin", None)


def test_callback_that_an_object_gives_itself_is_called(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        class Mine(Filter):
            def __init__(self):
                self.filter_end = lambda message: message.reject("virus")
                self.filter_limits = {"small": 1}
            def filter_begin(self, message):
                pass
        """
    )
    assert sorted(site.hooks) == ["filter_begin", "filter_end"]


def test_what_an_object_gives_itself_and_looks_like_a_callback_is_refused(load_filter: LoadFilter) -> None:
    with pytest.raises(FilterNotLoaded, match="no callback is named filter_endd; filter_end perhaps"):
        load_filter(
            """
            class Mine(Filter):
                def __init__(self):
                    self.filter_endd = lambda message: message.reject("virus")
                def filter_begin(self, message):
                    pass
            """
        )


def test_plain_functions_will_do(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        settings = Settings(warning_index=7)
        def filter_part(m, p, extra=None): return None
        def on_start(): pass
        def _filter_private(): pass
        """
    )
    assert sorted(site.hooks) == ["filter_part", "on_start"]
    assert site.settings.warning_index == 7


def test_base_class_of_the_filter_is_not_taken_for_it(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        class Base(Filter):
            def filter_begin(self, message): pass
        class Mine(Base):
            def filter_end(self, message): pass
        """
    )
    assert sorted(site.hooks) == ["filter_begin", "filter_end"]


def test_one_method_may_serve_two_callbacks(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        class Mine(Filter):
            def filter_part(self, message, part): pass
            filter_multipart = filter_part
        """
    )
    assert sorted(site.hooks) == ["filter_multipart", "filter_part"]


def test_callback_may_be_anything_that_can_be_called(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        import functools
        def refuse(why, message):
            return Response.reject(why)
        filter_begin = functools.partial(refuse, "closed")
        filter_end = functools.lru_cache(lambda message: None)
        """
    )
    assert list(site.hooks) == ["filter_begin", "filter_end"]
    assert site.ask("filter_begin", None).reply == "closed"


def test_callbacks_of_a_class_before_filter_and_shared_settings_are_taken(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        settings = Settings(warning_index=7)
        class Mixed:
            def filter_begin(self, message): pass
        class Mine(Mixed, Filter):
            settings = settings
        """
    )
    assert list(site.hooks) == ["filter_begin"]
    assert site.settings.warning_index == 7


def test_no_filter_has_no_callbacks() -> None:
    assert filter_file.load("/dev/null").hooks == {}


def test_file_may_have_any_name_and_import_its_neighbors(spool: Path) -> None:
    (spool / "defang_test_neighbor.py").write_text("ANSWER = 42\n")
    path = spool / "mimedefang-filter"
    path.write_text(
        "import dataclasses\nfrom defang_test_neighbor import ANSWER\n\n"
        "@dataclasses.dataclass\nclass Own:\n    number: int = ANSWER\n\n"
        "def on_start():\n    return Own()\n"
    )
    site = filter_file.load(str(path))
    assert repr(site.call("on_start")) == "Own(number=42)"
    assert not (spool / "__pycache__" / "mimedefang-filter").exists()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def filter_prat(message, part): pass", ":2: no callback is named filter_prat; filter_part perhaps?"),
        ("def filter(entity, fname): pass", ":2: no callback is named filter; filter_part perhaps?"),
        (
            "def filter_unknown_cmd(): pass",
            ":2: no callback is named filter_unknown_cmd; filter_unknown_command perhaps?",
        ),
        ("def filter_validate(): pass", ":2: no callback is named filter_validate; on_validate perhaps?"),
        (
            "def filter_create_parser(): pass",
            ":2: no callback is named filter_create_parser; Settings(limits=...) perhaps?",
        ),
        ("def filter_initialize(): pass", ":2: no callback is named filter_initialize; on_start perhaps?"),
        ("def filter_xyzzy_plugh(): pass", ":2: no callback is named filter_xyzzy_plugh; known are on_start, "),
        (
            "class F(Filter):\n    def filter_recipients(self, e, r): pass",
            ":3: no callback is named filter_recipients; filter_recipient perhaps?",
        ),
        ("def filter_part(message): pass", ":2: filter_part is to be defined with (message, part)"),
        (
            "class F(Filter):\n    def filter_begin(self): pass",
            ":3: filter_begin is to be defined with (self, message)",
        ),
        (
            "class F(Filter):\n    def filter_begin(message): pass",
            ":3: filter_begin is to be defined with (self, message)",
        ),
        ("async def filter_begin(message): pass", ":2: filter_begin is to be a plain def, not an async one"),
        ("class F(Filter):\n    filter_begin = 5", "filter_begin is no function"),
        ("filter_begin = 5", "filter_begin is no function"),
        ("def filter_end(m): pass\ndef on_strat(): pass", ":3: no callback is named on_strat; on_start perhaps?"),
        ("def on_vaildate(): pass", ":2: no callback is named on_vaildate; on_validate perhaps?"),
        (
            "class F(Filter):\n    def on_shutdown(self): pass",
            ":3: no callback is named on_shutdown; known are on_start, ",
        ),
        (
            "import functools\ndef one(m): pass\nfilter_beginn = functools.partial(one)\ndef filter_end(m): pass",
            "no callback is named filter_beginn; filter_begin perhaps?",
        ),
        ("def filter_begin(m):\n    m.reject('no')\n    yield", ":2: filter_begin is to return its answer"),
        (
            "class F:\n    def filter_begin(self, m): pass\ndef on_start(): pass",
            "class F has callbacks, but is no subclass of Filter",
        ),
        (
            "settings = Settings(warning_index=7)\nclass F(Filter):\n    def filter_end(self, m): pass",
            "settings stands outside of the class",
        ),
        (
            "class Mixed:\n    def filter_begin(self, m): pass\nclass F(Filter, Mixed):\n    def on_start(self): pass",
            ":3: filter_begin is hidden: Mixed is to stand before Filter",
        ),
        ("x = 1", "no callback in it; known are on_start, on_stop, on_validate, filter_map"),
        ("class F(Filter): pass", "no callback in it"),
        ("def filter_begin(m): pass\nsettings = {}", "settings is to be a Settings object, not dict"),
        (
            "class A(Filter):\n    def filter_end(self, m): pass\nclass B(Filter):\n    def filter_end(self, m): pass",
            "one subclass of Filter is wanted, found A, B",
        ),
        (
            "class A(Filter):\n    def filter_end(self, m): pass\ndef filter_begin(m): pass",
            ":4: filter_begin stands outside of the class",
        ),
        ("def filter_end(m:\n    pass", ":2: SyntaxError: "),
        ("del Message\ndef filter_end(m: Message): pass", "; from defang_worker import Message perhaps?"),
        ("import no_such_module_at_all", ":2: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise SystemExit(0)", ":2: SystemExit: 0"),
        (
            "class F(Filter):\n    def __init__(self): raise OSError('no db')\n    def filter_end(self, m): pass",
            ":3: OSError: no db",
        ),
    ],
)
def test_file_is_refused_with_the_reason_and_the_line(load_filter: LoadFilter, source: str, complaint: str) -> None:
    with pytest.raises(FilterNotLoaded) as refused:
        load_filter(source)
    assert complaint in str(refused.value)
    assert "filter.py" in str(refused.value)


def test_missing_file_is_named(spool: Path) -> None:
    with pytest.raises(FilterNotLoaded, match=f"{spool}/none.py: No such file or directory"):
        filter_file.load(f"{spool}/none.py")


def test_binary_file_is_refused(spool: Path) -> None:
    (spool / "filter.py").write_bytes(b"\0\xff\xfe")
    with pytest.raises(FilterNotLoaded, match=r"filter\.py"):
        filter_file.load(f"{spool}/filter.py")


def test_every_callback_of_the_life_cycle_is_known() -> None:
    assert HOOKS == {
        "on_start": (),
        "on_stop": (),
        "on_validate": (),
        "filter_map": ("table", "key"),
        "filter_tick": ("kind",),
        "filter_unknown_command": ("command", "words"),
        "filter_relay": ("connection",),
        "filter_helo": ("connection",),
        "filter_sender": ("envelope",),
        "filter_recipient": ("envelope", "recipient"),
        "filter_begin": ("message",),
        "filter_part": ("message", "part"),
        "filter_multipart": ("message", "part"),
        "filter_end": ("message",),
        "filter_wrapup": ("message",),
    }
