"""How many made-up secrets are found, and how much ordinary text is taken for one."""

import pytest

from proxy.source_code.redaction import redact
from tests.support.secret_shapes import ORDINARY, found, shapes

NOT_FOUND = {"JSON Web Token in a name"}
"""What docs/source-code.md says of them: without a boundary such a search would be quadratic."""


def test_every_shape_of_a_secret_but_the_named_ones_is_taken_out() -> None:
    assert {shape.kind for shape in shapes() if not found(shape)} == NOT_FOUND


def test_the_same_shapes_with_other_characters_are_taken_out() -> None:
    for seed in (1, 2, 3):
        missed = {shape.kind for shape in shapes(seed) if not found(shape)} - NOT_FOUND
        assert missed == set()


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_text_stays_as_it_is(name: str) -> None:
    text = ORDINARY[name].encode()

    assert redact(text, name) == (text, {})


def test_a_token_keeps_its_own_label_where_a_name_tells_of_it_too() -> None:
    token = "ghp_" + "a1B2" * 9

    assert redact(f'token = "{token}"\n'.encode(), "a.py")[1] == {"GitHub token": 1}


def test_a_private_key_in_base64_keeps_its_lines() -> None:
    text = b"key: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t" + b"QUJD" * 30 + b"\n"

    assert redact(text, "a.yaml") == (text, {}), "a certificate is no secret"
