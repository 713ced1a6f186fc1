"""What a secret looks like: detect-secrets' rules, and token formats newer than they are."""

import importlib
import re
from dataclasses import dataclass
from functools import cache, cached_property

from proxy.source_code.vendor_rules import TOKENS, WITHIN

token_tail = re.compile(rb"[A-Za-z0-9_\-]*").match
"""What still belongs to a token behind the part that its rule names."""


@dataclass(frozen=True)
class SecretRule:
    """One rule: it is only tried where one of its needles stands.

    `here` must match from the needle on. Without a `plugin` (`module:Class:number` of
    detect-secrets) that is already the secret; with one, the line around is searched
    with the plugin's expression. `group` is the part that is the secret. A `token` does
    not begin within a word and goes on to its end.
    """

    label: str
    needles: tuple[bytes, ...]
    here: re.Pattern[bytes]
    plugin: str = ""
    group: int = 0
    token: bool = True

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The plugin's, for text in which a character is a byte (what is not ASCII replaced)."""
        module, name, number = self.plugin.split(":")
        # Imported when it is first needed: that takes as long as reading a tree.
        plugin = importlib.import_module(f"detect_secrets.plugins.{module}")
        found = getattr(plugin, name).denylist[int(number)]
        assert isinstance(found, re.Pattern)
        return found


def _own(label: str, needle: str, here: str, *, group: int = 0, token: bool = True) -> SecretRule:
    found = re.compile((re.escape(needle) + here).encode())
    return SecretRule(label, (needle.encode(),), found, "", group, token)


def _known(
    label: str, needles: str, plugin: str, *, here: str = "", group: int = 0, token: bool = True
) -> SecretRule:
    found = re.compile(here.encode())
    return SecretRule(label, tuple(needles.encode().split()), found, plugin, group, token)


# `user:password@`, as documentation writes it, also `[[user]:[password]]@` and with `&lt;`.
_EXAMPLE = (
    r"(?!(?i:(?:\[|&lt;){0,2}(?:user(?:name)?)?(?:[\[\]]|&gt;){0,2}:"
    r"(?:\[|&lt;)?(?:pass(?:word|wd)?|pwd)(?:\]|&gt;){0,3}@))"
)
_GITLAB = ("glpat- gldt- glft- glsoat- glrt-", "GR1348941", "glcbt-", "glimt-", "glptt-")
RULES = (
    _known(
        *("AWS access key", "AKIA ASIA ABIA ACCA A3T", "aws:AWSKeyDetector:0"),
        here=r"[A-Z0-9]{20}",
    ),
    _known(
        *("AWS secret key", "aws AWS Aws", "aws:AWSKeyDetector:1"),
        here=r""".{0,60}['"][0-9a-zA-Z/+]{40}['"]""",
        group=1,
        token=False,
    ),
    _known(
        *("Artifactory token", "AKC", "artifactory:ArtifactoryDetector:0"),
        here=r"(?<![\w+/])...\w{9}",
        token=False,
    ),
    _known("Cloudant key", "cloudant CLOUDANT", "cloudant:CloudantDetector:0", group=1),
    _known("Cloudant key", "cloudant CLOUDANT", "cloudant:CloudantDetector:1", group=1),
    _known("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", "github_token:GitHubTokenDetector:0"),
    *(
        _known("GitLab token", needles, f"gitlab_token:GitLabTokenDetector:{number}")
        for number, needles in enumerate((*_GITLAB, "glagent-", "gloas-"))
    ),
    _known(
        *("IBM Cloud key", "ibm IBM iam IAM", "ibm_cloud_iam:IbmCloudIamDetector:0"),
        here=r"(?i:.{0,30}(?:key|pw|pass|token)).{0,20}[\w-]{44}",
        group=1,
    ),
    _known("Mailchimp key", "-us", "mailchimp:MailchimpDetector:0", here=r"-us\d"),
    _known("npm token", "_authToken", "npm:NpmDetector:0", group=1),
    _known("PyPI token", "pypi-AgEI", "pypi_token:PypiTokenDetector:0"),
    _known("PyPI token", "pypi-AgEN", "pypi_token:PypiTokenDetector:1"),
    _known("SendGrid key", "SG.", "sendgrid:SendGridDetector:0", here=r"SG\.[\w-]{22}"),
    _known("Slack token", "xoxa- xoxb- xoxp- xoxo- xoxs- xoxr-", "slack:SlackDetector:0"),
    _known("Slack webhook", "hooks.slack.com", "slack:SlackDetector:1", token=False),
    _known(
        *("SoftLayer key", "softlayer SOFTLAYER SoftLayer", "softlayer:SoftlayerDetector:0"),
        group=1,
    ),
    _known("Square secret", "sq0csp-", "square_oauth:SquareOAuthDetector:0"),
    _known("Stripe key", "k_live_", "stripe:StripeDetector:0"),
    _known(
        *("Telegram token", ":AA", "telegram_token:TelegramBotTokenDetector:0"),
        here=r":[\w-]{35}",
    ),
    _known("Twilio key", "AC", "twilio:TwilioKeyDetector:0", here=r"AC[a-z0-9]{32}"),
    _known("Twilio key", "SK", "twilio:TwilioKeyDetector:1", here=r"SK[a-z0-9]{32}"),
    _own("Azure storage key", "AccountKey=", r"([A-Za-z0-9+/]{86}==)", group=1, token=False),
    _own(
        *("password in a URL", "://", _EXAMPLE + r"""[^\s/:@"'<>]{0,256}:([^\s/@"'<>]{2,256})@"""),
        group=1,
        token=False,
    ),
    _own("JSON Web Token", "eyJ", r"(?<![_-]...)[\w-]{8,4096}+\.eyJ[\w-]{8,}+(?:\.[\w-]+)?"),
    _own("GitHub token", "github_pat_", r"[A-Za-z0-9_]{22,}"),
    _own("npm token", "npm_", r"[A-Za-z0-9]{36}"),
    _own("Slack token", "xapp-", r"\d-[A-Z0-9]+-\d+-[a-z0-9]+"),
    _own("Stripe key", "sk_test_", r"[0-9a-zA-Z]{24}"),
    _own("Stripe key", "rk_test_", r"[0-9a-zA-Z]{24}"),
    _own("Stripe secret", "whsec_", r"[A-Za-z0-9+/=]{24,}"),
    _own(
        "API key",
        "sk-",
        r"(?:(?:proj|svcacct|admin|None|ant|or|lf)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,})",
    ),
    _own("Google API key", "AIza", r"[A-Za-z0-9_-]{35}"),
    _own("Google secret", "GOCSPX-", r"[A-Za-z0-9_-]{20,}"),
    _own("Google token", "ya29.", r"[A-Za-z0-9_-]{20,}"),
    _own("Hugging Face token", "hf_", r"[A-Za-z0-9]{30,}"),
    _own("Groq key", "gsk_", r"[A-Za-z0-9]{40,}"),
    _own("xAI key", "xai-", r"[A-Za-z0-9]{40,}"),
    _own("Alibaba Cloud key", "LTAI", r"[A-Za-z0-9]{12,26}"),
    _own("Tencent Cloud key", "AKID", r"[A-Za-z0-9]{32,}"),
    _own("DigitalOcean token", "dop_v1_", r"[a-f0-9]{64}"),
    *(_own(label, start, rest) for label, start, rest in TOKENS),
    *(_own(label, start, rest, group=1, token=False) for label, start, rest in WITHIN),
)

PRIVATE_KEY_NEEDLES = (b"PRIVATE KEY", b"PuTTY-User-Key-File-")
# The body may be split over string literals, lie in a comment, or be what a diff removes: so
# quotes, escapes and such marks stand between its lines. A group is kept from going back by
# `(?>...)`: repeated with `+` after its number, it matches wrongly before Python 3.11.5.
_BETWEEN = rb"""(?>(?:[\s"'+,.()#*>|;]|-(?!-)|//\s|\\[nr\\]?){0,500})"""
private_key_body = re.compile(
    rb"PRIVATE KEY(?: BLOCK)?-----"
    + _BETWEEN
    + rb"(?>(?:[A-Z][A-Za-z-]{2,20}: [^\n\\]{1,100}"
    + _BETWEEN
    + rb"){0,8})"
    + rb"((?>(?:[A-Za-z0-9+/=]{16,32768}+"
    + _BETWEEN
    + rb"){1,2000})"
    + rb"(?:[A-Za-z0-9+/=]{1,15}(?="
    + _BETWEEN
    + rb"-{5,6}END))?)"
).match
putty_body = re.compile(
    rb"[^\n]{0,200}\n(?:[^\n]{0,200}\n){0,60}?Private-Lines: \d+\r?\n([A-Za-z0-9+/=\r\n]{1,65536})"
).match
KEY_BYTES = 40
"""Less than this is no key."""

holds_variables = re.compile(
    r"""\.env(?:rc|\..+)? | \.?pgpass(?:\.conf)? | .+\.env | \.flaskenv | \.npmrc | \.pypirc
    | [._]netrc | \.my\.cnf
    | \.s3cfg | credentials | secrets?\.(?:ya?ml|toml|json|ini|env|txt)
    | credentials\.toml | .+\.tfvars""",
    re.IGNORECASE | re.VERBOSE,
).fullmatch
"""Names of files that hold variables, and among them secrets."""

assignments = re.compile(
    rb"""^[ \t]*(?:\#[ \t#]*)?(?:(?:export|set)[ \t]+)?
    (?: ["']?([^\s="']+)["']?[ \t]*= | ["']?([\w.\-]+)["']?[ \t]*: )
    [ \t]*(
        (?: "(?>(?:[^"\\]++|\\.)*)" | '[^']*' )(?=[ \t,;}]*(?:\#|\r?$)) | [^\r\n]*
    )""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
).finditer
"""Groups: the name before `=`, or before `:`, and the value."""

pgpass_passwords = re.compile(
    rb"^(?!\#)(?:(?:[^:\\\r\n]|\\.){1,200}:){4}([^\r\n]{1,500})", re.MULTILINE
).finditer

netrc_passwords = re.compile(rb"\bpassword[ \t]+(\S+)").finditer

is_placeholder = re.compile(
    rb"""\$\{?\w+\}? | \{[^}]*\} | <[^>]*> | \[[^\]]*\] | %(?:\(\w+\))?s | \*+""", re.VERBOSE
).fullmatch
"""What stands where a secret will be filled in."""

harmless_value = re.compile(
    rb"""["']?(?: \$\{?\w+\}? | \$\{\{.*\}\} | \{\{.*\}\}
    | true | false | yes | no | on | off | null | none )?["']?[,;]?\s*""",
    re.IGNORECASE | re.VERBOSE,
).fullmatch

_SECRET_NAMES = (
    "token",
    "pass(?:word|wd|phrase)?$",
    "pwd",
    "credential",
    "(?:^|[_.-])(?:pw|pat|dsn|_?auth|cookie|salt|sk)$",
    "key$",
)
_harmless_name = re.compile(
    r"""public | publishable | tokens(?:_|$)
    | [_.-](?: url | uri | path | file | dir | ttl | seconds | minutes | days | name | type
        | algorithm | expir\w* | length | size | enabled | limit | id )$""",
    re.IGNORECASE | re.VERBOSE,
).search


@cache
def _secret_name() -> re.Pattern[str]:
    keyword = importlib.import_module("detect_secrets.plugins.keyword")
    return re.compile("|".join((*keyword.DENYLIST, *_SECRET_NAMES)), re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret, as detect-secrets or we know it."""
    return bool(_secret_name().search(name)) and not _harmless_name(name)
