"""Which registrations are refused, whatever the registry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resources.errors import UserError
from resources.registry.port import Registration
from resources.registry.rules import check_registration, next_version, parse_version

GOOD = Registration(model="demo", digest="d1", uri="s3://m/d1", author="run 1")


def test_a_plain_registration_passes():
    check_registration(GOOD)
    check_registration(replace(GOOD, model="Team model 1.2_b-c", version="1.2.3"))


@pytest.mark.parametrize("name", ["", " ", " demo", "demo ", "-demo", "a/b", "é", "a\n", "x" * 251])
def test_model_names_that_registries_refuse_are_refused(name):
    with pytest.raises(UserError, match=r"model name .* is not valid"):
        check_registration(replace(GOOD, model=name))


@pytest.mark.parametrize(
    "version", ["", "1", "1.2", "v1.2.3", "1.2.3-rc1", "01.2.3", "1.2.3 ", "latest", "1.2.٣"]
)
def test_versions_are_three_plain_numbers(version):
    with pytest.raises(UserError, match=r"version .* is not valid: .* such as 1\.2\.3, or auto"):
        check_registration(replace(GOOD, version=version))
    with pytest.raises(UserError, match=r"base_version .* is not valid"):
        check_registration(replace(GOOD, base_version=version))


def test_auto_is_no_base_version():
    with pytest.raises(UserError, match="base_version 'auto' is not valid"):
        check_registration(replace(GOOD, base_version="auto"))


@pytest.mark.parametrize("field", ["digest", "uri", "author"])
def test_what_a_version_cannot_do_without_is_refused_when_empty(field):
    with pytest.raises(UserError, match=f"registering demo: {field} is empty"):
        check_registration(replace(GOOD, **{field: " "}))


def test_a_description_has_at_most_4096_characters():
    check_registration(replace(GOOD, description="x" * 4096))
    with pytest.raises(UserError, match="description has 4097 characters; 4096 are allowed"):
        check_registration(replace(GOOD, description="x" * 4097))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "only finite numbers"),
        (float("inf"), "only finite numbers"),
        (2**63, "at most 64 bits"),
        (None, "is a NoneType"),
        ([1], "is a list"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_properties_that_no_registry_keeps_are_refused_by_name(value, reason):
    with pytest.raises(UserError, match=f"property 'loss' .*{reason}"):
        check_registration(replace(GOOD, properties={"rows": 1, "loss": value}))


@pytest.mark.parametrize("name", ["", " ", "x" * 256])
def test_property_names_are_neither_blank_nor_long(name):
    with pytest.raises(UserError, match="1 to 255 characters"):
        check_registration(replace(GOOD, properties={name: 1}))


def test_the_next_version_is_a_patch_and_passes_over_other_peoples_names():
    assert next_version([], "0.3.0") == "0.3.0"
    assert next_version(["v7", "latest"], "0.3.0") == "0.3.0"
    assert next_version(["1.9.9", "v7", "1.10.0"], "0.3.0") == "1.10.1"


def test_versions_compare_by_number():
    assert parse_version("1.10.0") > parse_version("1.9.9")
