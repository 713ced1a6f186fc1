"""Which bytes are text, and that nothing is ever decoded into something it is not."""

import contextlib
import random

import pytest

from proxy.source_code.text import NotTextError, to_utf8

CHINESE = "# 读取配置文件，如果文件不存在就创建一个新的，然后把默认值写进去。\n"
TRADITIONAL = "# 讀取設定檔，如果檔案不存在就建立一個新的，然後寫入預設值。\n"
JAPANESE = "# 設定ファイルを読み込みます。ファイルが存在しない場合は新しく作成します。\n"
KOREAN = "# 설정 파일을 읽습니다. 파일이 없으면 새로 만들고 기본값을 기록합니다.\n"
CODE = "def load(path):\n    return open(path).read()\n\n\n"

LEGACY = [
    (CHINESE, "gb18030", "gb18030"),
    (CHINESE, "gbk", "gb18030"),
    (TRADITIONAL, "big5", "big5"),
    (JAPANESE, "shift_jis", "shift_jis"),
    (KOREAN, "euc_kr", "euc-kr"),
]


@pytest.mark.parametrize(("text", "codec", "name"), LEGACY)
@pytest.mark.parametrize("repeat", [1, 3, 40, 12_000])
def test_legacy_text_in_code_is_read(text: str, codec: str, name: str, repeat: int) -> None:
    source = CODE + (text + CODE) * repeat

    assert to_utf8(source.encode(codec)) == (source.encode(), name)


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("# 读取配置\n", "gbk"),
        ("# 中文注释\n", "gbk"),
        ("# 設定檔路徑\n", "big5"),
        ("# ファイルを開く\n", "shift_jis"),
        ("# 파일 열기\n", "euc_kr"),
        ("# 类型\n", "gbk"),
        ("x = '好'\n", "gbk"),
    ],
)
def test_a_short_text_is_read_rightly_or_not_at_all(text: str, codec: str) -> None:
    utf8 = text.encode()
    with contextlib.suppress(NotTextError):
        utf8, _ = to_utf8(text.encode(codec))

    assert utf8.decode() == text


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("# Le café est prêt à être servi, voilà l'été déjà passé\n", "latin-1"),
        ("# Größe und Länge müssen übereinstimmen, sonst schlägt es fehl\n", "latin-1"),
        ("# El niño comió piñas mañana según la canción\n", "cp1252"),
        ("# Прочитать файл настроек и создать новый\n", "koi8-r"),
        ("# Прочитать файл настроек и создать новый\n", "cp1251"),
        ("# Zażółć gęślą jaźń\n", "cp1250"),
        ("# 設定ファイルを読み込みます\n", "euc_jp"),
        ("# Διαβάζει το αρχείο ρυθμίσεων\n", "cp1253"),
    ],
)
@pytest.mark.parametrize("repeat", [1, 10])
def test_other_legacy_text_is_skipped_and_never_garbled(text: str, codec: str, repeat: int) -> None:
    with pytest.raises(NotTextError, match="undecodable"):
        to_utf8((CODE + text * repeat).encode(codec))


@pytest.mark.parametrize("seed", range(40))
def test_noise_without_a_nul_is_no_text(seed: int) -> None:
    rng = random.Random(seed)
    noise = bytes(rng.randrange(1, 256) for _ in range(rng.choice([12, 60, 500, 5000])))

    with pytest.raises(NotTextError):
        to_utf8(b"\xff" + noise)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_decides_and_is_not_part_of_the_text(codec: str) -> None:
    text = "line\r\n第二行 😀\rlast"
    mark = "" if codec in ("utf-16", "utf-32", "utf-8-sig") else "\ufeff"

    utf8, name = to_utf8((mark + text).encode(codec))

    assert utf8 == text.encode()
    assert codec.startswith(name)


def test_line_ends_and_odd_characters_are_kept() -> None:
    data = "a\r\nb\rc\n\x0c\x85\u2028\ufeffend".encode()

    assert to_utf8(data) == (data, "utf-8")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\0\0", "binary"),
        (b"text" * 5000 + b"\0", "binary"),
        ("a\0b".encode("utf-16"), "binary"),
        (b"\xff\xfea", "undecodable"),
        (b"\xff\xfe\x00\xd8", "undecodable"),
        (b"\x01\x02\xb0\xa1\xb0\xa1", "binary"),
        (CHINESE.encode("gbk") + b"\xff", "undecodable"),
        ((CHINESE * 9000).encode("gbk") + b"\xff\xff", "undecodable"),
        (b"ok \xed\xa0\x80 surrogate", "undecodable"),
    ],
)
def test_what_is_no_text_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(NotTextError, match=reason):
        to_utf8(data)


def test_an_empty_file_is_text() -> None:
    assert to_utf8(b"") == (b"", "utf-8")
