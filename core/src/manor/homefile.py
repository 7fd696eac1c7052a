"""Files that the operator writes in Manor's home: read as YAML, checked, and wrong with place and reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from manor.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["checked", "loaded"]

_Model = TypeVar("_Model", bound="BaseModel")


def loaded(path: Path) -> Any:
    """The file's content, an empty mapping where there is no file. Raises UsageError where it is no YAML."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: {getattr(error, 'problem', None) or 'not YAML'}") from error


def checked(model: type[_Model], content: Any, path: Path, *, hint: str) -> _Model:
    """The content as a model. Raises UsageError naming the first place that is wrong."""
    from pydantic import ValidationError

    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "settings"
        raise UsageError(f"{path}: {place}: {first['msg']}", hint=hint) from None
