"""The settings that `.env.example` names."""

from pydantic import AliasChoices

from proxy.settings import Settings


def variables() -> list[str]:
    """The environment variable of every setting."""
    names = []
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            names.append(str(alias.choices[0]))
        else:
            names.append(f"PROXY_{name.upper()}")
    return names
