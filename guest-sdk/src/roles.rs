//! The roles that a module can play, and the macro that exports them.

use crate::bindings::{decoded, dispatch, drafts, outcome, step, verdict};
use crate::http::{Request, Response};
use crate::{Decoded, Delivery, Dispatch, Draft, Event, Failure, Inbound, Outcome, Step, Verdict};

/// Decides whether an event goes on in the flow.
pub trait Filter {
    /// Called once for each event. A [`Verdict::Drop`] ends the event here, without any failure;
    /// its reason stands in the event's trace.
    fn check(event: Event) -> Result<Verdict, Failure>;
}

/// Says which events go on in place of the one given.
pub trait Transform {
    /// Called once for each event: no draft ends the event here, one replaces it, several split it.
    fn apply(event: Event) -> Result<Vec<Draft>, Failure>;
}

/// Chooses among the flow's endpoints.
pub trait Route {
    /// Called once for each event that goes on; no dispatch ends the event here. A dispatch to a
    /// name that is no endpoint of the flow fails the event for good.
    fn plan(event: Event) -> Result<Vec<Dispatch>, Failure>;
}

/// Delivers to a kind of receiver, for endpoints of the kind `module`.
///
/// The host makes the requests. Each call has an instance of its own, so nothing that one call keeps
/// in memory is there in the next.
pub trait Channel {
    /// Says which request begins an attempt.
    fn render(delivery: Delivery) -> Result<Request, Failure>;

    /// Says what the answers of the attempt so far mean, the newest last. A retryable failure is
    /// tried again on the endpoint's schedule, a permanent one is a dead letter.
    fn classify(delivery: Delivery, answers: Vec<Response>) -> Result<Outcome, Failure>;
}

/// Turns a raw request to a webhook source into events, after the host verified its sender.
///
/// Each call has an instance of its own.
pub trait Source {
    /// Called once for each request. A permanent failure answers 422 with its code, a retryable one
    /// 503 with `Retry-After`; nothing is stored in either case.
    fn decode(request: Inbound) -> Result<Decoded, Failure>;
}

/// Asks a paged API for the events of a source of the kind `module`.
///
/// The host makes the requests. Each call has an instance of its own, so what the next one needs
/// stands in its memory or in the answer.
pub trait Puller {
    /// Called without an answer at the start of a round, then with the answer to each request that it
    /// asked for. `memory` is what the last call left, a JSON text, and none at the very first.
    fn pull(memory: Option<String>, answer: Option<Response>) -> Result<Step, Failure>;
}

impl<T: Filter> verdict::Guest for T {
    fn check(event: Event) -> Result<Verdict, Failure> {
        <T as Filter>::check(event)
    }
}

impl<T: Transform> drafts::Guest for T {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        <T as Transform>::apply(event)
    }
}

impl<T: Route> dispatch::Guest for T {
    fn plan(event: Event) -> Result<Vec<Dispatch>, Failure> {
        <T as Route>::plan(event)
    }
}

impl<T: Channel> outcome::Guest for T {
    fn render(delivery: Delivery) -> Result<Request, Failure> {
        <T as Channel>::render(delivery)
    }

    fn classify(delivery: Delivery, answers: Vec<Response>) -> Result<Outcome, Failure> {
        <T as Channel>::classify(delivery, answers)
    }
}

impl<T: Source> decoded::Guest for T {
    fn decode(request: Inbound) -> Result<Decoded, Failure> {
        <T as Source>::decode(request)
    }
}

impl<T: Puller> step::Guest for T {
    fn pull(memory: Option<String>, answer: Option<Response>) -> Result<Step, Failure> {
        <T as Puller>::pull(memory, answer)
    }
}

impl Verdict {
    /// Ends the event here, for the given reason.
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }
}

/// Exports a type's roles from the component: `export_module!(MyModule: filter, route);`.
///
/// Takes any of `filter`, `transform`, `route`, `channel`, `source` and `puller`, each at most once, and
/// at least one; the type implements [`Filter`], [`Transform`], [`Route`], [`Channel`], [`Source`] and
/// [`Puller`] accordingly. Stands once in a crate. On a native target it only checks that the roles
/// are implemented.
#[macro_export]
macro_rules! export_module {
    ($module:ident: $($role:ident),+ $(,)?) => {
        $($crate::__export_role!($role, $module);)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_role {
    (filter, $module:ident) => {
        const _: fn($crate::Event) -> Result<$crate::Verdict, $crate::Failure> =
            <$module as $crate::Filter>::check;
        #[cfg(target_family = "wasm")]
        $crate::bindings::filter::export_filter!($module with_types_in $crate::bindings::filter);
    };
    (transform, $module:ident) => {
        const _: fn($crate::Event) -> Result<Vec<$crate::Draft>, $crate::Failure> =
            <$module as $crate::Transform>::apply;
        #[cfg(target_family = "wasm")]
        $crate::bindings::transform::export_transform!(
            $module with_types_in $crate::bindings::transform
        );
    };
    (route, $module:ident) => {
        const _: fn($crate::Event) -> Result<Vec<$crate::Dispatch>, $crate::Failure> =
            <$module as $crate::Route>::plan;
        #[cfg(target_family = "wasm")]
        $crate::bindings::route::export_route!($module with_types_in $crate::bindings::route);
    };
    (channel, $module:ident) => {
        const _: fn($crate::Delivery) -> Result<$crate::http::Request, $crate::Failure> =
            <$module as $crate::Channel>::render;
        #[cfg(target_family = "wasm")]
        $crate::bindings::channel::export_channel!(
            $module with_types_in $crate::bindings::channel
        );
    };
    (source, $module:ident) => {
        const _: fn($crate::Inbound) -> Result<$crate::Decoded, $crate::Failure> =
            <$module as $crate::Source>::decode;
        #[cfg(target_family = "wasm")]
        $crate::bindings::source::export_source!($module with_types_in $crate::bindings::source);
    };
    (puller, $module:ident) => {
        const _: fn(
            Option<String>,
            Option<$crate::http::Response>,
        ) -> Result<$crate::Step, $crate::Failure> = <$module as $crate::Puller>::pull;
        #[cfg(target_family = "wasm")]
        $crate::bindings::puller::export_puller!($module with_types_in $crate::bindings::puller);
    };
    ($other:ident, $module:ident) => {
        compile_error!(concat!(
            "`", stringify!($other),
            "` is not a role: name `filter`, `transform`, `route`, `channel`, `source` or `puller`"
        ));
    };
}
