"""Secrets (tokens of hubs and trackers, passwords) are kept out of everything that is written down or given away.

They belong in environment variables. `redacted` blanks the values of variables whose names say that they are secret,
and what has the form of a well-known token, wherever text goes into a log, a record or a report.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

BLANK = "[secret]"
SHORTEST = 6
_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|PRIVATE_KEY|SECRET_KEY|CREDENTIALS?)(_|$)|_AUTH$",
    re.IGNORECASE,
)
_NAMES_A_PLACE = re.compile(r"_(PATH|FILE|DIR|SOCK)$", re.IGNORECASE)
# Tokens by their form: Hugging Face, GitHub, OpenAI and the like, GitLab, Slack, AWS; keys and passwords by what
# stands before them. Each has its secret in the group `secret`, or is one as a whole.
_FORMS = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}\b"
    r"|\b(?:gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,})\b"
    r"|\bsk-[A-Za-z0-9_-]{20,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAKIA[A-Z0-9]{16}\b"
    r"|(?i:wandb|api[ _-]?key)\W{0,3}(?:\w+\W{1,3})?(?P<key>[0-9a-f]{40})\b"
    r"|(?i:\bbearer\s+)(?P<bearer>[A-Za-z0-9._~+/-]{16,}=*)"
    r"|\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:(?P<password>[^\s/@\"']+)@"
)
_DATA_ADDRESS = re.compile(r"(data:[a-z]+/[a-z0-9+.-]+;base64,[A-Za-z0-9+/=]*)")
_LONG = 16  # a variable's value this long is no coincidence in a setting


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text with every secret in it replaced by BLANK, also where it is written as in JSON, HTML or an address."""
    for value in _values(os.environ if environment is None else environment):
        for written in {value, json.dumps(value)[1:-1], html.escape(value), quote(value, safe="")}:
            text = text.replace(written, BLANK)
    return _FORMS.sub(_blank, text)


def redacted_page(page: str) -> str:
    """A page of HTML with secrets blanked in its text; its pictures and videos stay as they are."""
    parts = _DATA_ADDRESS.split(page)  # every second part is such an address
    return "".join(part if place % 2 else redacted(part) for place, part in enumerate(parts))


def redacted_in(content: Any) -> Any:
    """A copy of nested mappings and lists with every text in it redacted; keys stay."""
    if isinstance(content, str):
        return redacted(content)
    if isinstance(content, Mapping):
        return {key: redacted_in(value) for key, value in content.items()}
    return [redacted_in(value) for value in content] if isinstance(content, list) else content


def holds_token(text: str) -> bool:
    """Whether a setting has a token or password in it."""
    return _FORMS.search(text) is not None or any(
        len(value) >= _LONG and value in text for value in _values(os.environ)
    )


def names_secret(variable: str) -> bool:
    """Whether the name of an environment variable says that its value is secret."""
    return bool(_NAME.search(variable) and not _NAMES_A_PLACE.search(variable))


def _values(environment: Mapping[str, str]) -> list[str]:
    """Values of the variables that are secret, the longest first; of USER:PASSWORD the password, too."""
    found = set()
    for name, value in environment.items():
        if names_secret(name):
            found.add(value)
            if name.upper().endswith("_AUTH"):
                found.add(value.partition(":")[2])
    return sorted((value for value in found if len(value) >= SHORTEST), key=len, reverse=True)


def _blank(match: re.Match[str]) -> str:
    secret = match["key"] or match["bearer"] or match["password"]
    return match[0].replace(secret, BLANK) if secret else BLANK
