"""Secrets of many shapes, made up at random, and ordinary text that looks a little like them.

`python -m tests.support.secret_shapes DIRECTORY…` counts what is redacted in real trees.
"""

import base64
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from proxy.source_code.redaction import redact

LOWER = "abcdefghijklmnopqrstuvwxyz"
HEX, DIGITS = "0123456789abcdef", "0123456789"
ALPHANUMERIC = LOWER + LOWER.upper() + DIGITS


class Shape(NamedTuple):
    """A file's name, its text, and the secret in it."""

    kind: str
    name: str
    text: str
    secret: str


def shapes(seed: int = 11) -> list[Shape]:
    """Every shape once."""
    return [*_tokens(random.Random(seed)), *_named(random.Random(seed)), *_files(seed)]


def _tokens(rng: random.Random) -> Iterator[Shape]:
    def some(count: int, alphabet: str = ALPHANUMERIC) -> str:
        # Never by chance a word alone.
        return "".join(rng.choices(alphabet, k=count - 2)) + "7" + alphabet[-1]

    uuid = "-".join(some(size, HEX) for size in (8, 4, 4, 4, 12))
    upper = LOWER.upper() + DIGITS
    made = {
        "own key": "sk-" + "proxy-" + some(49),
        "OpenAI": "sk-" + "proj-" + some(80),
        "Anthropic": "sk-" + "ant-api03-" + some(90),
        "Moonshot": "sk-" + some(48),
        "Kimi": "sk-" + "kimi-" + some(60),
        "OpenRouter": "sk-" + "or-v1-" + some(64, HEX),
        "Volcengine": "AKLT" + some(43),
        "Aliyun": "LTAI" + some(20),
        "Tencent": "AKID" + some(32),
        "Baidu": "bce-v3/" + "ALTAK-" + some(21) + "/" + some(40, HEX),
        "DingTalk": "SEC" + some(64, HEX),
        "AWS": "AKIA" + some(16, upper),
        "GitHub": "ghp_" + some(36),
        "GitHub fine": "github_pat_" + some(82),
        "GitLab": "glpat-" + some(20),
        "Atlassian": "ATATT3" + some(180),
        "Bitbucket": "ATBB" + some(32),
        "Notion": "ntn_" + some(46),
        "Linear": "lin_api_" + some(40),
        "Figma": "figd_" + some(40),
        "Shopify": "shpat_" + some(32, HEX),
        "Doppler": "dp.pt." + some(43),
        "Vault": "hvs." + some(90),
        "Pulumi": "pul-" + some(40, HEX),
        "Postman": "PMAK-" + some(24, HEX) + "-" + some(34, HEX),
        "Grafana": "glsa_" + some(32) + "_" + some(8, HEX),
        "New Relic": "NRAK-" + some(27, upper),
        "Sentry": "sntryu_" + some(64, HEX),
        "Mailgun": "key-" + some(32, HEX),
        "Brevo": "xkeysib-" + some(64, HEX) + "-" + some(16),
        "Resend": "re_" + some(8) + "_" + some(24),
        "Replicate": "r8_" + some(37),
        "Perplexity": "pplx-" + some(48),
        "Groq": "gsk_" + some(52),
        "xAI": "xai-" + some(80),
        "Cerebras": "csk-" + some(48, LOWER + DIGITS),
        "Tavily": "tvly-" + "dev-" + some(32),
        "NVIDIA": "nvapi-" + some(64),
        "LangSmith": "lsv2_pt_" + some(32, HEX) + "_" + some(10, HEX),
        "Databricks": "dapi" + some(32, HEX),
        "Slack": "xoxb-" + some(12, DIGITS) + "-" + some(12, DIGITS) + "-" + some(24),
        "PlanetScale": "pscale_tkn_" + some(43),
        "Supabase": "sbp_" + some(40, HEX),
        "Netlify": "nfp_" + some(36),
        "RubyGems": "rubygems_" + some(48, HEX),
        "crates.io": "cio" + some(32),
        "NuGet": "oy2" + some(43, LOWER + DIGITS),
        "Docker": "dckr_pat_" + some(27),
        "Contentful": "CFPAT-" + some(43),
        "Tailscale": "tskey-" + "auth-" + some(16) + "-" + some(32),
        "age": "AGE-SECRET-KEY-1" + some(58, upper),
        "Mapbox": "sk." + "eyJ" + some(60) + "." + some(22),
        "Google": "AIza" + some(35),
        "Google secret": "GOCSPX-" + some(28),
        "Hugging Face": "hf_" + some(34),
        "npm": "npm_" + some(36),
        "PyPI": "pypi-" + "AgEIcHlwaS5vcmc" + some(80),
        "SendGrid": "SG." + some(22) + "." + some(43),
        "Stripe": "sk_live_" + some(24),
        "Twilio": "SK" + some(32, HEX),
        "DigitalOcean": "dop_v1_" + some(64, HEX),
        "JSON Web Token": "eyJ" + some(20) + ".eyJ" + some(40) + "." + some(43),
        "DingTalk robot": f"https://oapi.dingtalk.com/robot/send?access_token={some(64, HEX)}",
        "Feishu robot": f"https://open.feishu.cn/open-apis/bot/v2/hook/{uuid}",
        "WeCom robot": f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={uuid}",
        "Discord webhook": f"https://discord.com/api/webhooks/{some(18, DIGITS)}/{some(68)}",
    }
    frames = {
        "alone": "%s\n",
        "a call": 'client = Client("%s")\n',
        "an escape": 'x = "first\\n%s"\n',
        "an address": "https://example.com/?q=a%%20%s\n",
        "mail": "k=3D%s\n",
        "a name": "prefix_%s\n",
    }
    for kind, token in made.items():
        for frame, text in frames.items():
            if token.startswith("https") and frame != "alone":
                continue
            secret = (
                token.rpartition("=" if "=" in token else "/")[2] if "https" in token else token
            )
            yield Shape(f"{kind} in {frame}", "a.py", text % token, secret)


def _named(rng: random.Random) -> Iterator[Shape]:
    frames = {
        "config.yaml": "app:\n  {name}: {value}\n",
        "quoted.yml": 'app:\n  {name}: "{value}"\n',
        "config.json": '{{"a": 1, "{name}": "{value}", "b": 2}}\n',
        "config.toml": '[app]\n{name} = "{value}"\n',
        "config.ini": "[app]\n{name} = {value}\n",
        "app.properties": "app.{name}={value}\n",
        "Dockerfile": "FROM x\nENV {name}={value}\n",
        "docker-compose.yml": "services:\n  a:\n    environment:\n      - {name}={value}\n",
        "deploy.sh": "set -e\nexport {name}={value}\n",
        ".env": "A=1\n{name}={value}\n",
        "commented.env": "A=1\n# {name}={value}\n",
        "unclosed.env": '{name}="{value}\nB="y"\n',
    }
    names = {
        "password": "hunter" + "2",
        "api_key": "",
        "secretAccessKey": "",
        "POE_API_KEY": "",
        "ZHIPU_API_KEY": "zhipu",
        "ARK_API_KEY": "uuid",
        "accessKeySecret": "",
        "client_secret": "",
        "access_token": "",
        "appsecret": "hex",
    }
    for name, kind in names.items():
        for file, text in frames.items():
            value = "".join(rng.choices(ALPHANUMERIC, k=30)) + "4"
            if kind == "uuid":
                value = "-".join("".join(rng.choices(HEX, k=size)) for size in (8, 4, 4, 4, 12))
            elif kind == "hex":
                value = "".join(rng.choices(HEX, k=32))
            elif kind == "zhipu":
                value = "".join(rng.choices(HEX, k=32)) + "." + value[:16]
            elif kind:
                value = kind
            yield Shape(f"{name} in {file}", file, text.format(name=name, value=value), value)


def _files(seed: int) -> Iterator[Shape]:
    rng = random.Random(seed)
    token = "".join(rng.choices(ALPHANUMERIC, k=36)) + "42"
    short = "p4ss" + "W0rd!x"
    body = base64.b64encode(rng.randbytes(600)).decode()
    pem = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
    encoded = base64.b64encode(pem.encode()).decode()
    wire = base64.b64encode(rng.randbytes(32)).decode()
    jwk = f'{{"kty": "EC", "crv": "P-256", "x": "abc", "d": "{token}"}}'
    header = "Authorization: "
    made = {
        ("pgpass", ".pgpass"): ("db:5432:app:me:{}\n", short),
        ("netrc", ".netrc"): ("machine a login me password {}\n", short),
        ("yarn", ".yarnrc.yml"): ('npmAuthToken: "{}"\n', token),
        ("npm", ".npmrc"): ("//registry.example.com/:_authToken={}\n", token),
        ("cargo", "credentials.toml"): ('[registry]\ntoken = "{}"\n', token),
        ("JSON in one line", "secrets.json"): ('{{"a": 1, "password": "{}", "b": 2}}\n', short),
        ("bearer", "a.http"): (header + "Bearer {}\n", token),
        ("curl", "README.md"): (f'curl -H "{header}Bearer {{}}" https://a.example\n', token),
        ("basic", "a.py"): (f'{{{{"{header.strip(": ")}": "Basic {{}}"}}}}\n', token),
        ("URL with a token", "a.md"): ("git clone https://{}@git.example.com/a/b.git\n", token),
        ("URL with a password", "a.py"): ("postgres://app:{}@db.example.com/x\n", short),
        ("ADO", "appsettings.json"): ('{{"Db": "Server=a;User=b;Password={};"}}\n', short),
        ("JWK", "key.json"): (jwk.replace(token, "{}").replace("{", "{{", 1)[:-1] + "}}\n", token),
        ("WireGuard", "wg0.conf"): ("[Interface]\nPrivateKey = {}\n", wire),
        ("PEM", "key.pem"): (pem.replace(body, "{}"), body),
        ("PEM in base64", "k8s.yaml"): ("data:\n  tls.key: {}\n", encoded),
        ("PEM in a comment", "a.py"): ("# -----BEGIN PRIVATE KEY-----\n# {}\n", body),
        ("CI", ".gitlab-ci.yml"): ("variables:\n  DEPLOY_TOKEN: {}\n", token),
        ("code", "a.py"): ('API_KEY = "{}"\n', token),
        ("code in Java", "A.java"): ('String apiKey = "{}";\n', token),
        ("Gitee", "a.sh"): ("git clone https://oauth2:{}@gitee.com/a/b.git\n", token),
        ("Azure", "a.cs"): ("AccountName=a;AccountKey={}==;\n", (token * 3)[:86]),
    }
    for (kind, name), (text, secret) in made.items():
        yield Shape(kind, name, text.format(secret), secret)


ORDINARY: dict[str, str] = {
    "messages.properties": (
        "label.password=Password\nerror.password.required=Password is required\n"
        "password.hint=8-20 characters\nlogin.token=Token2\nlabel.secret=Secret question\n"
    ),
    "zh.properties": "label.password=密码\npassword.reset=重置密码\napi.key=密钥\n",
    "locale.json": '{"password": "Password", "token": "Invalid token", "api_key": "API key"}\n',
    "openapi.yaml": (
        "password:\n  type: string\n  format: password\ntoken: string\nsecret: <secret>\n"
        "apiKey: YOUR_API_KEY\npasswordMinLength: 12\n"
    ),
    "k8s.yaml": (
        "secretName: db-secret-1\nsecretKeyRef:\n  name: api-keys\n  key: password\n"
        "token: ${TOKEN}\npassword: {{ .Values.password }}\npasswordFile: /run/secrets/db1\n"
    ),
    "ci.yml": "env:\n  TOKEN: ${{ secrets.TOKEN_2 }}\n  API_KEY: $API_KEY_1\n",
    "Dockerfile": "ARG TOKEN\nENV PASSWORD_FILE=/run/secrets/pw1\nENV MAX_TOKENS=4096\n",
    "a.py": (
        'password = input("password: ")\ntoken = request.headers["X-Token-2"]\nAPI_KEY = None\n'
        "secret = settings.secret_key_2\ntokens = [t for t in tokens if t.type == 1]\n"
        'next_token = "eyJhIjoxMjM0NTY3ODkwfQ12"\ndef token(self, key=DEFAULT_KEY_2): ...\n'
        "assert password == 'correct horse battery staple'\n"
    ),
    "a.js": "const { token, apiKey } = useAuth2();\nif (password !== confirm1) return;\n",
    "README.md": (
        "Set `API_KEY=your-key-here`, send `Authorization: Bearer YOUR_TOKEN`, or "
        "`Authorization: Bearer <token>`; the token: a string of 32 characters.\n"
        "https://user@example.com, git@github.com:a/b.git, commit "
        "3f786850e387550fdab836ed7e6dc881de23001b, sha512-abc==\n"
    ),
    "lock.json": '{"integrity": "sha512-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4==", "version": "1.2.3"}\n',
    "package.json": (
        '{"dependencies": {"@a/credential-provider-env": "^3.972.85", "askpassword": "~2.0.12"}}\n'
    ),
    "RECORD": "a/version.py,sha256=qaN-fw_htIgKUVXoAuAEVgKxQu3tZ9qE2eiKkWIS7LA,160\n",
    "wasm.js": "const wasm = 'MBAAAPAXAAB/EAAA" + "oBUAACMUAACJ" * 9 + "'\n",
    "names.ts": (
        "const SUBJECT_TOKEN = 'urn:example:params:oauth:token-type:x509'\n"
        'const SIGNED = ["authorization", "x-amz-content-sha256", "x-amz-date"]\n'
    ),
    "urls.md": (
        "mongodb://user:password@host, ftp://username:pass@host, redis://[[user]:[password]]@host, "
        "http://&lt;user&gt;:&lt;password&gt;@host, http://a:b@host\n"
    ),
    "a.go": 'Password string `json:"password"`\nToken: cfg.Token2,\nSecretKey: os.Getenv("K1"),\n',
}
"""Name of a file → text without any secret."""


def found(shape: Shape) -> bool:
    """Whether nothing of a shape's secret is left."""
    return shape.secret.encode() not in redact(shape.text.encode(), shape.name)[0]


def main() -> int:
    """Print both rates, the second over the trees that are named."""
    made = shapes()
    missed = [shape.kind for shape in made if not found(shape)]
    print(f"{len(made)} secrets, {len(missed)} missed: {missed}")
    counts: Counter[str] = Counter()
    size = 0
    for top in sys.argv[1:]:
        for path in Path(top).rglob("*"):
            try:
                data = path.read_bytes() if path.is_file() and not path.is_symlink() else b"\0"
                data.decode()
            except (OSError, UnicodeDecodeError):
                continue
            if b"\0" not in data:
                size += len(data)
                counts.update(redact(data, path.name)[1])
    print(f"{size / 2**20:.0f} MiB of text, {counts.total()} redactions: {dict(counts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
