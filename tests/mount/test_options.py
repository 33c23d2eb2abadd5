from __future__ import annotations

import math

import pytest

from aiovfs.errors import OptionError
from aiovfs.mount.options import (
    PRESETS,
    MountOptions,
    option_rows,
    parse_duration,
    parse_mode,
    parse_option_string,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("64KiB", 65536), ("64k", 65536), ("64kB", 64000), ("1.5 GiB", 3 << 29), (17, 17)],
)
def test_sizes_are_read_with_their_units(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1 XiB", -1, "1e9", True])
def test_what_is_not_a_size_is_refused_with_the_value(text: str | int) -> None:
    with pytest.raises(OptionError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), ("30s", 30.0), ("500ms", 0.5), ("5m", 300.0), ("2 h", 7200.0), ("forever", math.inf), (0, 0.0)],
)
def test_times_are_read_with_their_units(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", -1.0, "5 weeks"])
def test_what_is_not_a_time_is_refused(text: str | float) -> None:
    with pytest.raises(OptionError, match="is not a time"):
        parse_duration(text)


def test_modes_are_octal() -> None:
    assert parse_mode("644") == 0o644
    with pytest.raises(OptionError, match="octal"):
        parse_mode("888")


def test_an_option_string_is_split_at_commas_that_are_not_escaped() -> None:
    assert parse_option_string(r"ro,fsname=a\,b,,uid=5") == {"read_only": True, "fsname": "a,b", "uid": "5"}


def test_a_no_in_front_turns_a_switch_off() -> None:
    assert MountOptions.parse("nodefault_permissions").default_permissions is False
    assert MountOptions.parse("noexec").noexec is True


def test_an_alias_takes_no_value() -> None:
    with pytest.raises(OptionError, match="takes no value"):
        MountOptions.parse("ro=yes")


def test_an_unknown_option_names_the_nearest_known_one() -> None:
    with pytest.raises(OptionError, match=r"no mount option 'cache-sise'.*did you mean cache_size"):
        MountOptions.build({"cache-sise": 1})


def test_an_impossible_value_names_the_option() -> None:
    with pytest.raises(OptionError, match="option attr_timeout: 'soon' is not a time"):
        MountOptions.parse("attr_timeout=soon")


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match="shared, default, solo, frozen"):
        MountOptions.build(preset="fast")


def test_a_given_value_wins_over_the_preset_and_the_preset_over_the_table() -> None:
    options = MountOptions.build(preset="frozen", attr_timeout="7s")
    assert (options.attr_timeout, options.entry_timeout, options.read_only) == (7.0, math.inf, True)


def test_none_means_not_given() -> None:
    assert MountOptions.build(preset="shared", listing_timeout=None).listing_timeout == 0.0


def test_every_preset_has_only_known_options_with_valid_values() -> None:
    rows = {row.name: row for row in option_rows()}
    for values in PRESETS.values():
        for name, value in values.items():
            assert rows[name].parse(value) == value


def test_every_default_is_a_value_that_its_own_parser_accepts() -> None:
    for row in option_rows():
        if row.default is not None:
            assert row.parse(row.default) == row.default, row.name


def test_every_row_has_a_line_of_documentation_and_a_flag() -> None:
    for row in option_rows():
        assert row.summary.endswith("."), row.name
        assert row.flag == "--" + row.name.replace("_", "-")


def test_every_option_of_the_fuse_layer_is_known_there() -> None:
    from aiovfs.fuse.options import parse_options

    values = MountOptions().fuse_options()
    values["fsname"] = "x"
    parse_options(values)
