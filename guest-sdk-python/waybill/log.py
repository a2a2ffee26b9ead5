"""Lines for the event's trace. The module `logging` and `print` write to it too."""

import logging
from typing import Any

from waybill import _host


def _write(level: str, message: str, fields: dict[str, Any]) -> None:
    pairs = [(name, str(value)) for name, value in fields.items()]
    _host.log.write(_host.log.Level[level], message, pairs)


def trace(message: str, **fields: Any) -> None:
    _write("TRACE", message, fields)


def debug(message: str, **fields: Any) -> None:
    _write("DEBUG", message, fields)


def info(message: str, **fields: Any) -> None:
    _write("INFO", message, fields)


def warn(message: str, **fields: Any) -> None:
    _write("WARN", message, fields)


def error(message: str, **fields: Any) -> None:
    _write("ERROR", message, fields)


class LogHandler(logging.Handler):
    """Writes the records of the module `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        levels = [(logging.ERROR, "ERROR"), (logging.WARNING, "WARN"), (logging.INFO, "INFO")]
        level = next((name for least, name in levels if record.levelno >= least), "DEBUG")
        _write(level, record.getMessage(), {})
