"""Whether the extension keeps the contract, and is found where it is installed."""

import pytest

import i2v_lab as lab
from i2v_lab.extensions.conformance import check_extension
from i2v_lab.pipeline.registry import find_extension

NAMES = ["my_extension"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_found_and_keeps_the_contract(name):
    assert name in lab.extension_names(), "install it first: pip install --no-build-isolation --no-deps -e ."
    report = check_extension(find_extension(name))
    assert report.passed, report
