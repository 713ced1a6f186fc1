"""Secrets leave the text, and nothing else does."""

import base64
import random

import pytest

from proxy.source_code.redaction import redact

# Put together at run time, so that no scanner takes this file for a leak.
RNG = random.Random(5)
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def chars(alphabet: str, count: int) -> str:
    return "".join(RNG.choices(alphabet, k=count))


TOKENS = {
    "AWS access key": "AKIA" + chars(UPPER, 16),
    "GitHub token": "ghp_" + chars(LETTERS, 36),
    "GitLab token": "glpat-" + chars(LETTERS, 20),
    "Slack token": "xoxb-" + "123456789012-123456789012-" + chars("abc123", 24),
    "SendGrid key": "SG." + chars(LETTERS, 22) + "." + chars(LETTERS, 43),
    "Stripe key": "sk_live_" + chars(LETTERS, 24),
    "Twilio key": "SK" + chars("abcdef0123456789", 32),
    "Telegram token": "123456789:AA" + chars(LETTERS, 33),
    "PyPI token": "pypi-AgEIcHlwaS5vcmc" + chars(LETTERS, 80),
    "npm token": "npm_" + chars(LETTERS, 36),
    "API key": "sk-" + chars(LETTERS, 48),
    "Google API key": "AIza" + chars(LETTERS, 35),
    "Hugging Face token": "hf_" + chars(LETTERS, 34),
    "Alibaba Cloud key": "LTAI" + chars(LETTERS, 20),
    "Tencent Cloud key": "AKID" + chars(LETTERS, 32),
    "JSON Web Token": "eyJ" + chars(LETTERS, 20) + ".eyJ" + chars(LETTERS, 30) + "." + "x" * 43,
}
MORE = [
    ("API key", "sk-proj-" + chars(LETTERS, 74) + "T3BlbkFJ" + chars(LETTERS, 74)),
    ("API key", "sk-ant-api03-" + chars(LETTERS, 90) + "AA"),
    ("GitHub token", "github_pat_" + chars(LETTERS, 82)),
    ("Stripe key", "rk_live_" + chars(LETTERS, 60)),
    ("Stripe key", "sk_test_" + chars(LETTERS, 30)),
]
KEY = base64.encodebytes(RNG.randbytes(600)).decode()


@pytest.mark.parametrize(("label", "token"), [*TOKENS.items(), *MORE])
@pytest.mark.parametrize("frame", ['key = "%s"\n', "%s", "x: %s, y", "密钥=%s；", "a=1\nb(%s)\n"])
def test_a_token_is_taken_out_whole(label: str, token: str, frame: str) -> None:
    text, counts = redact((frame % token).encode(), "a.py")

    assert text.decode() == frame % f"[REDACTED: {label}]"
    assert counts == {label: 1}


def test_an_aws_secret_and_an_azure_key_and_a_webhook_are_taken_out() -> None:
    secret = chars(LETTERS, 40)
    azure = chars(LETTERS, 86) + "=="
    hook = "https://hooks.slack.com/services/T" + "ABC/B" + "DEF/" + chars(LETTERS, 24)
    source = f'aws_secret_key = "{secret}"\nAccountName=a;AccountKey={azure};\nurl={hook}\n'

    text, counts = redact(source.encode(), "a.py")

    assert not any(part.encode() in text for part in (secret, azure, hook))
    assert text.startswith(b'aws_secret_key = "[REDACTED: AWS secret key]"\nAccountName=a;Acc')
    assert sum(counts.values()) == 3


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "DSA "])
def test_the_body_of_a_private_key_is_taken_out_and_its_lines_stay(kind: str) -> None:
    source = f"a\n-----BEGIN {kind}PRIVATE KEY-----\n{KEY}-----END {kind}PRIVATE KEY-----\nb\n"

    text, counts = redact(source.encode(), "id_rsa")

    assert counts == {"private key": 1}
    assert text.count(b"\n") == source.count("\n")
    assert text.startswith(f"a\n-----BEGIN {kind}PRIVATE KEY-----\n[REDACTED".encode())
    assert text.endswith(f"-----END {kind}PRIVATE KEY-----\nb\n".encode())
    assert not any(line.encode() in text for line in KEY.split())


@pytest.mark.parametrize("ending", ["", "\n# the rest was lost {"])
def test_a_private_key_without_an_end_is_taken_out(ending: str) -> None:
    text, _ = redact(f"-----BEGIN PRIVATE KEY-----\n{KEY}{ending}".encode(), "a")

    assert not any(line.encode() in text for line in KEY.split())


@pytest.mark.parametrize("mark", ["-", "+", "# ", "#", "// ", " * ", "> ", "| ", ";"])
def test_a_private_key_in_a_comment_or_a_diff_is_taken_out(mark: str) -> None:
    lines = ["-----BEGIN PRIVATE KEY-----", *KEY.split(), "c2hvcnQ=", "-----END PRIVATE KEY-----"]
    source = "".join(f"{mark}{line}\n" for line in lines)

    text, counts = redact(source.encode(), "notes.md")

    assert counts == {"private key": 1}
    assert text.count(b"\n") == source.count("\n")
    assert not any(line.encode() in text for line in lines[1:-1])


def test_a_private_key_in_a_string_literal_is_taken_out() -> None:
    literal = "\\n".join(KEY.split())
    split = "\n".join(f'    "{line}\\n"' for line in KEY.split())
    source = (
        f'A = "-----BEGIN PRIVATE KEY-----\\n{literal}\\n-----END PRIVATE KEY-----"\n'
        f'B = (\n    "-----BEGIN RSA PRIVATE KEY-----\\n"\n{split}\n    "-----END'
        ' RSA PRIVATE KEY-----"\n)\n'
    )

    text, counts = redact(source.encode(), "a.py")

    assert counts == {"private key": 2}
    assert not any(line.encode() in text for line in KEY.split())


def test_certificates_public_keys_and_code_about_keys_stay() -> None:
    source = (
        f"-----BEGIN CERTIFICATE-----\n{KEY}-----END CERTIFICATE-----\n"
        f"-----BEGIN PUBLIC KEY-----\n{KEY}-----END PUBLIC KEY-----\n"
        'BEGIN = "-----BEGIN PRIVATE KEY-----"\nEND = "-----END PRIVATE KEY-----"\n'
        'if line.startswith("-----BEGIN RSA PRIVATE KEY-----"):\n    return parse(line)\n'
        'integrity "sha512-' + chars(LETTERS, 86) + '=="\n'
        "https://example.com/a:b/c@d?e=f\ngit@github.com:a/b.git\n"
        "class TASKabcdefabcdefabcdefabcdefabcdefab: pass\n"
        "desk-lamp-with-a-very-long-name-that-goes-on-and-on-and-on\n"
    )

    assert redact(source.encode(), "a.py") == (source.encode(), {})


@pytest.mark.parametrize("pair", ["app:password", "user:hunter2", "postgres:postgres", "user:pa"])
def test_a_password_in_a_url_is_taken_out_where_only_one_half_is_an_example(pair: str) -> None:
    user = pair.partition(":")[0]

    text, _ = redact(f"https://{pair}@host/\n".encode(), "a.md")

    assert text.decode() == f"https://{user}:[REDACTED: password in a URL]@host/\n"


def test_a_password_in_a_url_is_taken_out_unless_it_is_a_placeholder() -> None:
    source = (
        "postgres://app:p!$s(w)=rd@db/x mysql://app:${DB_PASSWORD}@db/x\n"
        "redis://:hunter2@cache:6379 https://{user}:{password}@host https://u:<token>@h\n"
    )

    text, counts = redact(source.encode(), "settings.py")

    assert counts == {"password in a URL": 2}
    assert text.decode() == (
        "postgres://app:[REDACTED: password in a URL]@db/x mysql://app:${DB_PASSWORD}@db/x\n"
        "redis://:[REDACTED: password in a URL]@cache:6379 "
        "https://{user}:{password}@host https://u:<token>@h\n"
    )


@pytest.mark.parametrize("name", [".env", ".env.local", "prod.env", ".npmrc"])
def test_secret_variables_are_taken_out_and_the_others_stay(name: str) -> None:
    source = (
        "DEBUG=true\r\nexport DB_PASSWORD=hunter2 # 数据库\r\nSECRET_KEY='a b # c'\r\n"
        'POE_API_KEY="multi\nline"\nMAX_TOKENS=4096\nTOKEN_URL=https://a/b\n'
        "EMPTY_PASSWORD=\nREF_PASSWORD=${DB_PASSWORD}\nNAME=中文\npwd: 12345678\n# PASSWORD\n"
    )

    text, counts = redact(source.encode(), name)

    mark = "[REDACTED: secret variable]"
    assert text.decode() == (
        f"DEBUG=true\r\nexport DB_PASSWORD={mark}\r\nSECRET_KEY='{mark}'\r\n"
        f'POE_API_KEY="{mark}\n"\nMAX_TOKENS=4096\nTOKEN_URL=https://a/b\n'
        f"EMPTY_PASSWORD=\nREF_PASSWORD=${{DB_PASSWORD}}\nNAME=中文\npwd: {mark}\n# PASSWORD\n"
    )
    assert counts == {"secret variable": 4}


def test_a_netrc_password_is_taken_out() -> None:
    text, _ = redact(b"machine a login me password hunter2\n", ".netrc")

    assert text == b"machine a login me password [REDACTED: secret variable]\n"


def test_code_that_handles_passwords_stays() -> None:
    source = b'password = input("password: ")\ntoken = request.headers["token"]\nAPI_KEY = None\n'

    assert redact(source, "login.py") == (source, {})


@pytest.mark.parametrize("line_length", [80, 10**9])
def test_no_token_is_missed_wherever_it_stands_in_a_large_text(line_length: int) -> None:
    token = TOKENS["GitHub token"]
    filler = random.Random(1)
    parts = []
    for _ in range(400):
        words = " ".join("word" for _ in range(filler.randrange(1, 900)))
        parts.append(
            "\n".join(words[i : i + line_length] for i in range(0, len(words), line_length))
        )
    source = f" {token} ".join(parts)

    text, counts = redact(source.encode(), "a.txt")

    assert counts == {"GitHub token": 399}
    assert token.encode() not in text


# Half a second at most; with the square of its size it would take more than a minute.
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "unit",
    [
        *(b"aws", b"://", b"://a:", b"AC", b"ibm key=", b"sk-ant-", b"xapp-1-", b"whsec_"),
        *(b"eyJ", b"-eyJ", b"_eyJ", b"eyJa.", b"eyJaaaaaaaaaaaaa.eyJ", b"a='", b'a="\\'),
        *(b"-----BEGIN PRIVATE KEY-----", b"PRIVATE KEY----- Abc: d ", b"PuTTY-User-Key-File-"),
    ],
)
def test_hostile_repetition_comes_to_an_end(unit: bytes) -> None:
    text = unit * (400_000 // len(unit))

    assert redact(text, ".env")[0].count(b"\n") == 0


@pytest.mark.parametrize("name", [".env", "a.py"])
def test_it_can_be_ended_between_two_secrets(name: str) -> None:
    text = f"password={TOKENS['GitHub token']}\n".encode() * 100
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks > 50:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        redact(text, name, check)
