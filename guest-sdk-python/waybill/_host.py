"""The functions of the host: those of the component, or the stand-in in native tests."""

from typing import Any, Callable

from waybill.values import Failure

try:
    from componentize_py_types import Err
    from wit_world.imports import (
        config,
        counters,
        deliveries,
        emit,
        http,
        http_types,
        log,
        records,
        secrets,
        state,
        types,
    )

    NATIVE = False
except ImportError:
    from waybill._native import (
        Err,
        config,
        counters,
        deliveries,
        emit,
        http,
        http_types,
        log,
        records,
        secrets,
        state,
        types,
    )

    NATIVE = True


def call(function: Callable[..., Any], *given: Any) -> Any:
    """Calls a function of the host. Raises its failure as `Failure`."""
    try:
        return function(*given)
    except Err as error:
        raise _failure(error.value) from None


def _failure(value: Any) -> Failure:
    if isinstance(value, types.Failure_Retryable):
        reason, after = value.value.reason, value.value.after_seconds
        return Failure(
            reason.code, reason.message, reason.pointer, retryable=True, after_seconds=after
        )
    reason = value.value
    return Failure(reason.code, reason.message, reason.pointer)


def to_wire(failure: Failure) -> Any:
    """Returns a failure as the component returns it."""
    reason = types.Reason(failure.code, failure.message, failure.pointer)
    if failure.retryable:
        return types.Failure_Retryable(types.Retry(reason, failure.after_seconds))
    return types.Failure_Permanent(reason)
