"""What a `.keras` file must be before Keras may read it: whole, of bounded size, and free of code.

Keras' own safe mode refuses lambdas; this also refuses every function and class outside its layers and initializers.
"""

import io
import json
import zipfile
import zlib
from typing import Any

LARGEST = 2 * 1024**3
"""Bytes above which a model file is refused."""

# what networks of Keras' own layers are made of; functions of its other modules can reach files or the net
_MODULES = frozenset({"keras", "keras.initializers", "keras.layers", "keras.src.models.functional"})
_CODE_LAYERS = frozenset({"FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper"})
_MARKERS = frozenset({"__keras_tensor__", "__tuple__"})
_MEMBERS = frozenset({"metadata.json", "config.json", "model.weights.h5"})


class ModelError(ValueError):
    """A network that cannot be built, read or applied."""


def check(data: bytes, source: str, limit: int = LARGEST) -> None:
    """Refuse an archive that is damaged, too large or not made of Keras' own layers; read what passes uncompiled.

    Parameters
    ----------
    data
        The file's bytes.
    source
        What the error names.
    limit
        Bytes above which the file is refused, packed or unpacked.

    Raises
    ------
    ModelError
        Where any of these holds.
    """
    if len(data) > limit:
        raise ModelError(f"{source} has {len(data):,} bytes; at most {limit:,} are allowed")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size > limit:
                raise ModelError(f"{source} unpacks to {size:,} bytes; at most {limit:,} are allowed")
            if {member.filename for member in members} != _MEMBERS or archive.testzip() is not None:
                raise ModelError(f"{source} is not a whole .keras file: it must hold {', '.join(sorted(_MEMBERS))}")
            configuration = json.loads(archive.read("config.json"))
    except ModelError:
        raise
    # an encrypted member and endless nesting are RuntimeErrors
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{source} is damaged or no .keras file ({len(data):,} bytes): {error}") from error
    if isinstance(configuration, dict):
        configuration.pop("compile_config", None)  # how it was trained: left out by whoever reads without compiling
    _check_trusted(configuration, source)


def _is_trusted(name: Any, module: Any) -> bool:
    if not isinstance(name, str):
        return False
    return name in _MARKERS if module is None else module in _MODULES and name not in _CODE_LAYERS


def _check_trusted(node: Any, source: str) -> None:
    if isinstance(node, list):
        for item in node:
            _check_trusted(item, source)
    elif isinstance(node, dict):
        name, module = node.get("class_name"), node.get("module")
        if "class_name" in node and not _is_trusted(name, module):
            raise ModelError(
                f"{source} holds {name!r} of {module!r}, which could run code of its own; only models made of Keras' "
                f"own layers and initializers are read, and of its layers not {', '.join(sorted(_CODE_LAYERS))}"
            )
        for item in node.values():
            _check_trusted(item, source)
