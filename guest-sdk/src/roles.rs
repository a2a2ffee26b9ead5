//! The roles that a module can play, and the macro that exports them.

use crate::bindings::{dispatch, drafts, verdict};
use crate::{Dispatch, Draft, Event, Failure, Verdict};

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

impl Verdict {
    /// Ends the event here, for the given reason.
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }
}

/// Exports a type's roles from the component: `export_module!(MyModule: filter, route);`.
///
/// Takes any of `filter`, `transform` and `route`, each at most once, and at least one; the type
/// implements [`Filter`], [`Transform`] and [`Route`] accordingly. Stands once in a crate. On a
/// native target it only checks that the roles are implemented.
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
    ($other:ident, $module:ident) => {
        compile_error!(concat!(
            "`", stringify!($other), "` is not a role: name `filter`, `transform` or `route`"
        ));
    };
}
