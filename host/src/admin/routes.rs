//! Every page and form, each with the REST route whose need guards it.

use super::PageState;
use super::dead_letters::{letter, progress, replay};
use super::editor::{FormKind, SettingsForm, rotation};
use super::endpoints::{actions, detail};
use super::events::trace;
use super::guard::{PageGuard, guard_page};
use super::{
    alerts, assets, audit, call, completeness, dead_letters, editor, endpoints, events, flows,
    history, module_trials, modules, news, nodes, overview, search, sign_in, sources, tokens,
};
use crate::access::session::SessionStore;
use crate::api::AppState;
use crate::api::endpoints::EndpointResource;
use crate::api::flows::FlowResource;
use crate::api::problem::ApiProblem;
use crate::api::sources::SourceResource;
use crate::api::tokens::TokenResource;
use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use http::{Method, Uri};
use std::sync::Arc;

/// Changing an endpoint.
const SET_ENDPOINT: Option<(Method, &str)> = Some((Method::PATCH, "/api/v1/endpoints/{id}"));

/// Deleting a dead letter.
const DELETE_LETTER: Option<(Method, &str)> = Some((Method::DELETE, "/api/v1/dead-letters/{id}"));

/// Changing a flow.
const SET_FLOW: Option<(Method, &str)> = Some((Method::PATCH, "/api/v1/flows/{id}"));

/// Running a flow without sending anything.
const TRY_FLOW: Option<(Method, &str)> = Some((Method::POST, flows::trial::RUN));
/// Giving an endpoint another secret.
const ROTATE_ENDPOINT: Option<(Method, &str)> =
    Some((Method::POST, "/api/v1/endpoints/{id}/rotate-secret"));
/// Giving a source another secret.
const ROTATE_SOURCE: Option<(Method, &str)> =
    Some((Method::POST, "/api/v1/sources/{id}/rotate-secret"));

/// Adds pages. It cannot add a page without a guard.
struct PageRouter {
    pages: PageState,
    router: Router<PageState>,
}

impl PageRouter {
    /// Adds a page for tokens that may read `rest_route`, or for any known token if that is `None`.
    fn page<H, T>(self, path: &str, rest_route: Option<&'static str>, handler: H) -> Self
    where
        H: Handler<T, PageState>,
        T: 'static,
    {
        self.guarded_page(path, rest_route.map(|route| (Method::GET, route)), handler)
    }

    /// Adds a page with a form, for tokens that may send the form.
    fn guarded_page<H, T>(
        self,
        path: &str,
        rest_route: Option<(Method, &'static str)>,
        handler: H,
    ) -> Self
    where
        H: Handler<T, PageState>,
        T: 'static,
    {
        let guard = PageGuard { pages: self.pages.clone(), rest_route };
        debug_assert!(guard.has_need(), "{path} names no route of the API");
        let guarded = get(handler).layer(from_fn_with_state(guard, guard_page));
        Self { router: self.router.route(path, guarded), ..self }
    }

    /// Adds a form for tokens that may post to `rest_route`.
    fn form<H, T>(self, path: &str, rest_route: &'static str, handler: H) -> Self
    where
        H: Handler<T, PageState>,
        T: 'static,
    {
        let rest_route = Some((Method::POST, rest_route));
        self.guarded_form(path, rest_route, handler)
    }

    /// Adds a form for tokens that may call `rest_route`, or for any known token if that is `None`.
    fn guarded_form<H, T>(
        self,
        path: &str,
        rest_route: Option<(Method, &'static str)>,
        handler: H,
    ) -> Self
    where
        H: Handler<T, PageState>,
        T: 'static,
    {
        let guard = PageGuard { pages: self.pages.clone(), rest_route };
        debug_assert!(guard.has_need(), "{path} names no route of the API");
        let guarded = post(handler).layer(from_fn_with_state(guard, guard_page));
        Self { router: self.router.route(path, guarded), ..self }
    }
}

impl PageRouter {
    /// Adds the forms that create, change and delete one kind of object.
    fn editor<R: SettingsForm>(self) -> Self {
        let FormKind { list, rest, rest_one, .. } = R::FORM;
        let (new, one) = (format!("{list}/new"), format!("{list}/{{id}}"));
        let (edit, delete) = (format!("{one}/edit"), format!("{one}/delete"));
        let [makes, changes, deletes] = [
            Some((Method::POST, rest)),
            Some((Method::PATCH, rest_one)),
            Some((Method::DELETE, rest_one)),
        ];
        self.guarded_page(&new, makes.clone(), editor::pages::show_new::<R>)
            .guarded_form(&new, makes, editor::pages::create::<R>)
            .guarded_page(&edit, changes.clone(), editor::pages::show_edit::<R>)
            .guarded_form(&edit, changes, editor::pages::save::<R>)
            .guarded_page(&delete, deletes.clone(), editor::removal::show_page::<R>)
            .guarded_form(&delete, deletes, editor::removal::delete::<R>)
    }

    /// Adds the pages and forms of dead letters.
    fn letter_pages(self) -> Self {
        self.page(dead_letters::DEAD_LETTERS, Some("/api/v1/dead-letters"), dead_letters::show_list)
            .form(
                "/admin/dead-letters/replay",
                "/api/v1/dead-letters/replay",
                replay::replay_matching,
            )
            .form("/admin/dead-letters/stop", "/api/v1/dead-letters/stop-replay", progress::stop)
            .page(
                "/admin/dead-letters/export",
                Some("/api/v1/dead-letters/export"),
                dead_letters::export,
            )
            .page("/admin/dead-letters/{id}", Some("/api/v1/dead-letters/{id}"), letter::show_page)
            .form(
                "/admin/dead-letters/{id}/replay",
                "/api/v1/dead-letters/{id}/replay",
                letter::replay_one,
            )
            .form(
                "/admin/dead-letters/{id}/edit",
                "/api/v1/dead-letters/{id}/replay",
                letter::replay_edited,
            )
            .guarded_form("/admin/dead-letters/{id}/delete", DELETE_LETTER, letter::delete_one)
    }

    /// Adds the forms of all settings.
    fn editors(self) -> Self {
        self.editor::<EndpointResource>()
            .editor::<FlowResource>()
            .editor::<SourceResource>()
            .editor::<TokenResource>()
            .guarded_page(
                "/admin/endpoints/{id}/rotate",
                ROTATE_ENDPOINT,
                rotation::show_page::<EndpointResource>,
            )
            .guarded_form(
                "/admin/endpoints/{id}/rotate",
                ROTATE_ENDPOINT,
                rotation::rotate_endpoint,
            )
            .guarded_page(
                "/admin/sources/{id}/rotate",
                ROTATE_SOURCE,
                rotation::show_page::<SourceResource>,
            )
            .guarded_form("/admin/sources/{id}/rotate", ROTATE_SOURCE, rotation::rotate_source)
    }
}

/// Returns the routes of the pages.
pub fn page_routes(app: AppState) -> Router<AppState> {
    let pages = PageState { app, sessions: Arc::new(SessionStore::default()) };
    let router = Router::new()
        .route("/admin/assets/{name}", get(assets::serve_asset))
        .route(sign_in::SIGN_IN, get(sign_in::show_form).post(sign_in::sign_in));
    let guarded = PageRouter { pages: pages.clone(), router }
        .page("/admin", None, overview::show_overview)
        .page("/admin/", None, overview::show_overview)
        .page("/admin/live", None, news::open_stream)
        .page("/admin/{*rest}", None, answer_missing)
        .page(events::EVENTS, Some("/api/v1/events"), events::show_list)
        .page("/admin/events/{id}", Some("/api/v1/events/{id}"), trace::show_page)
        .page("/admin/records/{resource}/{id}", Some("/api/v1/events"), history::show_page)
        .page(endpoints::ENDPOINTS, Some("/api/v1/endpoints"), endpoints::show_list)
        .page("/admin/endpoints/{id}", Some("/api/v1/endpoints/{id}"), detail::show_page)
        .form("/admin/endpoints/{id}/test", "/api/v1/endpoints/{id}/test", actions::send_test)
        .guarded_form("/admin/endpoints/{id}/pause", SET_ENDPOINT, actions::pause)
        .guarded_form("/admin/endpoints/{id}/resume", SET_ENDPOINT, actions::resume)
        .form("/admin/endpoints/{id}/cancel", "/api/v1/deliveries/cancel", actions::cancel_waiting)
        .page("/admin/search", None, search::show_results)
        .page(flows::FLOWS, Some("/api/v1/flows"), flows::show_list)
        .page("/admin/flows/{id}", Some("/api/v1/flows/{id}"), flows::show_page)
        .guarded_form("/admin/flows/{id}/pause", SET_FLOW, flows::pause)
        .guarded_form("/admin/flows/{id}/resume", SET_FLOW, flows::resume)
        .guarded_page("/admin/flows/{id}/run", TRY_FLOW, flows::trial::show_page)
        .guarded_form("/admin/flows/{id}/run", TRY_FLOW, flows::trial::run)
        .page(modules::MODULES, Some("/api/v1/modules"), modules::show_list)
        .form("/admin/module-upload", "/api/v1/modules/{name}", modules::upload)
        .page("/admin/modules/{name}", Some("/api/v1/modules/{name}"), modules::show_page)
        .form(
            "/admin/modules/{name}/versions/{version}/activate",
            "/api/v1/modules/{name}/versions/{version}/activate",
            modules::activate,
        )
        .page(
            "/admin/modules/{name}/versions/{version}/component",
            Some("/api/v1/modules/{name}/versions/{version}/component"),
            modules::download,
        )
        .page(tokens::TOKENS, Some("/api/v1/tokens"), tokens::show_list)
        .page("/admin/tokens/{id}", Some("/api/v1/tokens/{id}"), tokens::show_page)
        .page(audit::AUDIT, Some("/api/v1/audit"), audit::show_list)
        .page("/admin/nodes", Some("/api/v1/nodes"), nodes::show_list)
        .page(sources::SOURCES, Some("/api/v1/sources"), sources::show_list)
        .page("/admin/sources/{id}", Some("/api/v1/sources/{id}"), sources::show_page)
        .form("/admin/sources/{id}/pause", "/api/v1/sources/{id}/pause", sources::pause)
        .form("/admin/sources/{id}/resume", "/api/v1/sources/{id}/resume", sources::resume)
        .form("/admin/sources/{id}/run", "/api/v1/sources/{id}/run", sources::run_now)
        .form("/admin/events/{id}/replay", "/api/v1/events/{id}/replay", trace::replay)
        .page("/admin/deliveries/{id}", Some("/api/v1/deliveries/{id}"), trace::show_delivery_page)
        .form(
            "/admin/deliveries/{id}/replay",
            "/api/v1/deliveries/{id}/replay",
            trace::resend_delivery,
        )
        .guarded_form("/admin/sign-out", None, sign_in::sign_out);
    let guarded = add_completeness(guarded.letter_pages().editors());
    add_trials(add_alerts(guarded)).router.with_state(pages)
}

fn add_completeness(router: PageRouter) -> PageRouter {
    router
        .page(
            completeness::COMPLETENESS,
            Some("/api/v1/completeness/days"),
            completeness::show_grid,
        )
        .page(
            "/admin/completeness/{endpoint}/{day}",
            Some("/api/v1/completeness"),
            completeness::day::show_page,
        )
        .form("/admin/completeness/send", "/api/v1/completeness/send", completeness::day::send)
}

fn add_trials(router: PageRouter) -> PageRouter {
    router
        .form("/admin/modules/{name}/trial", module_trials::CANARY, module_trials::begin)
        .form(
            "/admin/modules/{name}/promote",
            "/api/v1/modules/{name}/promote",
            module_trials::promote,
        )
        .form(
            "/admin/modules/{name}/rollback",
            "/api/v1/modules/{name}/rollback",
            module_trials::roll_back,
        )
}

fn add_alerts(router: PageRouter) -> PageRouter {
    router
        .page(alerts::ALERTS, Some("/api/v1/alerts"), alerts::show_list)
        .form(
            "/admin/alerts/{id}/acknowledge",
            "/api/v1/alerts/{id}/acknowledge",
            alerts::acknowledge,
        )
        .form("/admin/alerts/{id}/silence", "/api/v1/alerts/{id}/silence", alerts::silence)
}

/// Answers for an address that is not a page.
async fn answer_missing(uri: Uri) -> call::PageResult {
    Err(ApiProblem::missing("page", uri.path()).into())
}
