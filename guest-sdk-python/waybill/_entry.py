"""Wraps the functions of a module as the interfaces of a component."""

import logging
import os
import sys
import traceback
from typing import Any, Callable

from waybill import _host, _wire, log
from waybill.values import Body, Dispatch, Draft, Drop, Failure, Keep, permanent

SDK = os.path.dirname(os.path.abspath(__file__))
#: Most frames in the field `stack` of a log line.
MOST_FRAMES = 20
logging.basicConfig(level=logging.INFO, handlers=[log.LogHandler()])


class _Seeded:
    """The event for which the module `random` was seeded."""

    event = ""


def run(work: Callable[..., Any], convert: Callable[[Any], Any], event: Any) -> Any:
    """Calls the function of a role and converts its answer."""
    try:
        _seed(event.id)
        return convert(work(_wire.read_event(event)))
    except Failure as failure:
        raise _host.Err(_host.to_wire(failure)) from None
    except Exception as thrown:
        raise _host.Err(_host.to_wire(_explain(thrown))) from None
    finally:
        sys.stdout.flush()


def _seed(event: str) -> None:
    # The component is a snapshot of a started interpreter, so without this the numbers of all
    # events would be the same. The host derives these bytes from the event.
    known = sys.modules.get("random")
    if known is not None and _Seeded.event != event:
        known.seed(os.urandom(16))
    _Seeded.event = event


def _explain(thrown: Exception) -> Failure:
    """The host treats this code as it treats a panic in Rust: reason `module_trap`."""
    frames = [f for f in reversed(traceback.extract_tb(thrown.__traceback__)) if not _is_of(SDK, f)]
    text = "".join(traceback.format_exception_only(type(thrown), thrown)).strip()
    if len(frames) > 1:
        log.error(text, stack=" < ".join(map(_place, frames[:MOST_FRAMES])))
    project = os.path.dirname(sys.modules["module"].__file__ or "")
    own = next((f for f in frames if _is_of(project, f)), None)
    return permanent("exception", text if own is None else f"{text} ({_place(own)})")


def _is_of(folder: str, frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(folder + os.sep)


def _place(frame: traceback.FrameSummary) -> str:
    return f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"


def verdict(filter: Any) -> Callable[[Any], Any]:
    def convert(answer: Any) -> Any:
        if isinstance(answer, Drop):
            return filter.Verdict_Drop(answer.reason)
        if isinstance(answer, Keep):
            return filter.Verdict_Keep()
        raise _wrong("filter", "keep or drop(reason)", answer)

    return convert


def drafts(answer: Any) -> list[Any]:
    if not isinstance(answer, list) or not all(isinstance(one, Draft) for one in answer):
        raise _wrong("transform", "a list of Draft", answer)
    return [_wire.write_draft(one) for one in answer]


def dispatches(route: Any) -> Callable[[Any], Any]:
    def convert(answer: Any) -> Any:
        if not isinstance(answer, list) or not all(isinstance(one, Dispatch) for one in answer):
            raise _wrong("route", "a list of Dispatch", answer)
        return [_dispatch(one, route) for one in answer]

    return convert


def _dispatch(one: Dispatch, route: Any) -> Any:
    body = None if one.data is None else _wire.write_body(Body.json(one.data))
    return route.Dispatch(
        destination=one.destination,
        operation=one.operation,
        dedupe_key=one.dedupe_key,
        ordering_key=one.ordering_key,
        cancel_key=one.cancel_key,
        delay_seconds=one.delay_seconds,
        attributes=_wire.write_pairs(one.attributes),
        data=body,
    )


def _wrong(role: str, wanted: str, answer: Any) -> TypeError:
    return TypeError(f"{role} returned {type(answer).__name__}, not {wanted}")
