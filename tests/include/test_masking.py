"""No password, token or key is in any line, whoever wrote it and however; everything else stays."""

from __future__ import annotations

import io
import json
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from include.masking import MASK, Mask, MaskedStream

HEAD = "cannot reach [1] "
TAIL = " [2] in time"
SCHEMES = ("postgresql", "postgresql+psycopg2", "postgres", "http", "https", "redis", "kafka", "s3", "amqp", "mysql")

unescaped = st.text(string.ascii_letters + string.digits + "#?/@:!$%^&*()_+-=.,;|~äß€", min_size=4, max_size=24)
"""What people put between `user:` and `@` without a thought for its meaning there."""
anything = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=4, max_size=24)


def hidden(text: str, password: str) -> None:
    """The password is not in the text, and what stands around it is."""
    assume(password not in HEAD + TAIL + MASK)
    assert password not in text
    assert text.startswith(HEAD)
    assert text.endswith(TAIL)


# What nobody told it of


@given(st.sampled_from(SCHEMES), st.sampled_from(["", "someone", "some.one%40corp", "a@corp"]), unescaped)
@example("postgresql+psycopg2", "u", "secretpw")
@example("http", "u", "0000/")
@example("http", "u", "8080#x@y:z/")
def test_the_password_of_an_address_is_masked_whatever_is_in_it(scheme: str, user: str, password: str) -> None:
    text = Mask()(f"{HEAD}{scheme}://{user}:{password}@db.internal:5432/name?x=1{TAIL}")
    assume(password not in f"{scheme}://{user}:@db.internal:5432/name?x=1")
    hidden(text, password)
    assert f"{scheme}://{user}:{MASK}@db.internal:5432/name?x=1" in text


@given(st.sampled_from(["password", "sslpassword", "token", "api_key", "X-Amz-Signature", "access_token"]), unescaped)
def test_the_password_in_a_query_is_masked(name: str, password: str) -> None:
    password = password.replace("&", "")
    assume(len(password) >= 4 and password not in f"postgresql://db/name?user=me&{name}=&sslmode=on")
    text = Mask()(f"{HEAD}postgresql://db/name?user=me&{name}={password}&sslmode=on{TAIL}")
    hidden(text, password)
    assert f"?user=me&{name}={MASK}&sslmode=on" in text


@given(anything)
@example('it\'s \\ a "secret"')
def test_the_password_among_libpqs_names_and_values_is_masked(password: str) -> None:
    written = password.replace("\\", r"\\").replace("'", r"\'")
    assume(password not in "host=db password= dbname=name")
    text = Mask()(f"{HEAD}host=db password = '{written}' dbname=name{TAIL}")
    hidden(text, password)
    assert written not in text
    assert "dbname=name" in text


@given(anything)
def test_the_password_in_json_or_a_dictionary_is_masked(password: str) -> None:
    assume(password not in json.dumps({"user": "me", "password": "", "n": 1}))
    for written in (json.dumps({"user": "me", "password": password, "n": 1}), repr({"password": password, "n": 1})):
        text = Mask()(f"{HEAD}{written}{TAIL}")
        hidden(text, password)
        assert written.endswith("1}")
        assert text.endswith(f"1}}{TAIL}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ("authorization: Basic dTpw, next", f"authorization: Basic {MASK} next"),
        ("sent Bearer abcdefgh", f"sent Bearer {MASK}"),
        ("key AKIAIOSFODNN7EXAMPLE is unknown", f"key {MASK} is unknown"),
        ("AWS_SECRET_ACCESS_KEY=wJalr/XUtn+FEMI= x", f"AWS_SECRET_ACCESS_KEY={MASK} x"),
        ("BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY", f"BEGIN PRIVATE KEY-----{MASK}-----END PRIVATE KEY"),
        ("eyJhbGciOi.eyJzdWIi.sig-1 is over", f"{MASK} is over"),
    ],
)  # fmt: skip
def test_tokens_and_keys_are_masked_by_their_form(text: str, shown: str) -> None:
    assert Mask()(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "NIGHTSHIFT_SERVING_TOKEN is not set: give it, or start the embedded stack with `make up`",
        "NIGHTSHIFT_KAFKA_PASSWORD: Field required",
        'password authentication failed for user "nightshift"',
        "kafka://one:9092,two:9092/ has no topic flights",
        "serving at http://127.0.0.1:8890 answered 401: no reason",
        '{"uris":{"serving":"http://127.0.0.1:8890","model":"s3://lake/a"},"by":"me@host"}',
        "http://[::1]:8890/v1/model asked by me@host",
        "models:/flight_delay@champion, run_key=2013-10-01/hgb, max_tokens=5, the Bearer token",
        "file:///lake/features/nightly/data_day=2013-10-01/part-1.parquet",
    ],
)
def test_a_line_without_a_secret_stays_as_it_is(text: str) -> None:
    assert Mask({"hush-hush"})(text) == text


@given(st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    mask = Mask({"hush"})
    assert mask(mask(text)) == mask(text)


# What it knows from the process's environment


@given(anything)
@example("p%40ss word")
def test_a_known_secret_is_masked_wherever_it_stands_and_however_it_is_written(secret: str) -> None:
    assume(secret.strip() == secret)
    mask = Mask.of({"NIGHTSHIFT_KAFKA_PASSWORD": secret})
    forms = (secret, quote(secret, safe=""), quote_plus(secret), quote(secret).swapcase(), json.dumps(secret)[1:-1])
    for form in forms:
        text = mask(f"{HEAD}<{form}>{TAIL}")
        assume(secret not in f"{HEAD}<>{TAIL}{MASK}")
        assert form not in text
        hidden(text, secret)


@given(unescaped)
@example("secret#pw@rd/x:y")
def test_the_password_of_a_known_address_is_masked_in_pieces_too(password: str) -> None:
    # Given an address whose password is not percent-encoded, so that each library cuts it where it likes
    mask = Mask.of({"NIGHTSHIFT_TRACKING_URL": f"http://user:{password}@mlflow.internal:5000/x"})
    for piece in [password, *password.replace("/", "#").replace("?", "#").split("#")]:
        assume(piece not in f"{HEAD}{TAIL}{MASK}")
        if len(piece) >= 4:
            assert piece not in mask(f"{HEAD}no host {piece!r} {quote(piece, safe='')}{TAIL}")


def test_only_what_is_secret_of_the_environment_is_masked() -> None:
    mask = Mask.of(
        {
            "NIGHTSHIFT_TRACKING_URL": "http://mlflow.internal:5000",
            "NIGHTSHIFT_DATABASE_URL": "postgresql://someone:hush-hush@db.internal/name",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "PWD": "/home/someone",
            "SHOP_API_TOKEN": "shop-token",
            "PATH": "/usr/bin",
        }
    )
    line = "http://mlflow.internal:5000 and someone of db.internal in eu-west-1 at /home/someone of /usr/bin"
    assert mask(line) == line
    assert mask("hush-hush and shop-token") == f"{MASK} and {MASK}"


def test_a_value_is_masked_inside_and_its_shape_stays() -> None:
    value = {"facts": {"reason": "password=a,b", "n": 1, "many": ["http://u:pw@h", None]}, "ok": True}
    shown = {"facts": {"reason": f"password={MASK}", "n": 1, "many": [f"http://u:{MASK}@h", None]}, "ok": True}
    assert Mask().inside(value) == shown


# Where lines leave


def test_a_secret_that_is_written_in_two_pieces_is_masked() -> None:
    out = io.StringIO()
    stream = MaskedStream(out, Mask({"hush-hush"}))
    print("it is hush-", end="", file=stream)
    print("hush\nnext", file=stream)
    print("no newline", end="", file=stream, flush=True)
    assert out.getvalue() == f"it is {MASK}\nnext\nno newline"
