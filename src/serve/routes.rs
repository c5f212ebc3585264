//! The routes as data: method, path, listener, who may call, and what a request may bring. The routers, the
//! OpenAPI document's test and the tests of access are all driven by [`ROUTES`].

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, patch, post};

use super::access::Caller;
use super::guard::{Gate, Listener, guard};
use super::{
    App, admin as orders, events, examples, health, openapi, page, predict, statistics, v2,
};

/// Where a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The public listener.
    Public,
    /// The admin listener.
    Admin,
    /// Both.
    Both,
}

/// What a route's requests bring and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// No body; always answered, even when the daemon is full or shutting down.
    Probe,
    /// No body.
    Read,
    /// A JSON body of up to `max_body_bytes`.
    Json,
    /// As [`Load::Json`], or rows of little-endian f32.
    Rows,
    /// As [`Load::Json`], but V2 clients may leave the content type out or append binary tensors.
    Tensors,
    /// JSON or NDJSON of up to `max_ingest_bytes`.
    Records,
    /// An answer without end.
    Stream,
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Path template.
    pub path: &'static str,
    /// Listener.
    pub on: On,
    /// Least caller: `Reader` means the public token where one is set.
    pub caller: Caller,
    /// Body and cost.
    pub load: Load,
    endpoint: Endpoint,
}

/// The handlers, named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Predict,
    Ingest,
    Bounds,
    Weights,
    Hardest,
    Evaluation,
    Learners,
    Model,
    Events,
    OpenApi,
    Page,
    Asset,
    Metrics,
    Live,
    Ready,
    V2Server,
    V2Model,
    V2Ready,
    V2Infer,
    Settings,
    Pause,
    Resume,
    Checkpoint,
    Rollback,
    Discover,
}

use self::Endpoint as E;
use Caller::{Admin, Anyone, Reader};
use Load::{Json, Probe, Read, Records, Rows, Stream, Tensors};

/// Every route of both listeners.
pub const ROUTES: &[Route] = &[
    route("POST", "/v1/predict", On::Public, Reader, Rows, E::Predict),
    route(
        "POST",
        "/v1/examples",
        On::Public,
        Reader,
        Records,
        E::Ingest,
    ),
    route("GET", "/v1/examples", On::Public, Reader, Read, E::Bounds),
    route("GET", "/v1/weights", On::Public, Reader, Read, E::Weights),
    route("GET", "/v1/hardest", On::Public, Reader, Read, E::Hardest),
    route(
        "GET",
        "/v1/evaluation",
        On::Public,
        Reader,
        Read,
        E::Evaluation,
    ),
    route("GET", "/v1/learners", On::Public, Reader, Read, E::Learners),
    route("GET", "/v1/model", On::Public, Reader, Read, E::Model),
    route("GET", "/v1/events", On::Public, Reader, Stream, E::Events),
    route("GET", "/openapi.json", On::Public, Anyone, Read, E::OpenApi),
    route("GET", "/", On::Public, Anyone, Read, E::Page),
    route("GET", "/assets/{name}", On::Public, Anyone, Read, E::Asset),
    route("GET", "/metrics", On::Both, Reader, Probe, E::Metrics),
    route("GET", "/healthz", On::Both, Anyone, Probe, E::Live),
    route("GET", "/readyz", On::Both, Anyone, Probe, E::Ready),
    route("GET", "/v2/health/live", On::Public, Anyone, Probe, E::Live),
    route(
        "GET",
        "/v2/health/ready",
        On::Public,
        Anyone,
        Probe,
        E::Ready,
    ),
    route("GET", "/v2", On::Public, Reader, Read, E::V2Server),
    route("GET", "/v2/", On::Public, Reader, Read, E::V2Server),
    route(
        "GET",
        "/v2/models/{model}",
        On::Public,
        Reader,
        Read,
        E::V2Model,
    ),
    route(
        "GET",
        "/v2/models/{model}/ready",
        On::Public,
        Reader,
        Probe,
        E::V2Ready,
    ),
    route(
        "POST",
        "/v2/models/{model}/infer",
        On::Public,
        Reader,
        Tensors,
        E::V2Infer,
    ),
    route(
        "GET",
        "/v2/models/{model}/versions/{version}",
        On::Public,
        Reader,
        Read,
        E::V2Model,
    ),
    route(
        "GET",
        "/v2/models/{model}/versions/{version}/ready",
        On::Public,
        Reader,
        Probe,
        E::V2Ready,
    ),
    route(
        "POST",
        "/v2/models/{model}/versions/{version}/infer",
        On::Public,
        Reader,
        Tensors,
        E::V2Infer,
    ),
    route("PATCH", "/v1/settings", On::Admin, Admin, Json, E::Settings),
    route("POST", "/v1/pause", On::Admin, Admin, Read, E::Pause),
    route("POST", "/v1/resume", On::Admin, Admin, Read, E::Resume),
    route(
        "POST",
        "/v1/checkpoint",
        On::Admin,
        Admin,
        Read,
        E::Checkpoint,
    ),
    route("POST", "/v1/rollback", On::Admin, Admin, Read, E::Rollback),
    route("POST", "/v1/discover", On::Admin, Admin, Read, E::Discover),
    route("PATCH", "/settings", On::Admin, Admin, Json, E::Settings),
    route("POST", "/pause", On::Admin, Admin, Read, E::Pause),
    route("POST", "/resume", On::Admin, Admin, Read, E::Resume),
    route("POST", "/checkpoint", On::Admin, Admin, Read, E::Checkpoint),
    route("POST", "/rollback", On::Admin, Admin, Read, E::Rollback),
    route("POST", "/discover", On::Admin, Admin, Read, E::Discover),
];

const fn route(
    method: &'static str,
    path: &'static str,
    on: On,
    caller: Caller,
    load: Load,
    endpoint: Endpoint,
) -> Route {
    Route {
        method,
        path,
        on,
        caller,
        load,
        endpoint,
    }
}

/// The public listener's router.
pub fn public(app: Arc<App>) -> Router {
    router(app, Listener::Public)
}

/// The admin listener's router.
pub fn admin(app: Arc<App>) -> Router {
    router(app, Listener::Admin)
}

impl Route {
    fn answers_on(&self, listener: Listener) -> bool {
        match self.on {
            On::Both => true,
            On::Public => listener == Listener::Public,
            On::Admin => listener == Listener::Admin,
        }
    }
}

fn router(app: Arc<App>, listener: Listener) -> Router {
    let gate = Arc::new(Gate::new(app, listener));
    let mut router = Router::new();
    for route in ROUTES.iter().filter(|route| route.answers_on(listener)) {
        router = router.route(route.path, handler(route.endpoint));
    }
    router
        // The guard's own limits hold; they differ by route.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&gate), guard))
        .with_state(gate)
}

/// The route of a request, from the template that its path matched.
pub(super) fn find(listener: Listener, path: &str, method: &Method) -> Option<&'static Route> {
    // Where GET is allowed, HEAD is.
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    ROUTES
        .iter()
        .find(|route| route.path == path && route.method == method && route.answers_on(listener))
}

fn handler(endpoint: Endpoint) -> MethodRouter<Arc<Gate>> {
    match endpoint {
        E::Predict => post(predict::predict),
        E::Ingest => post(examples::append),
        E::Bounds => get(examples::bounds),
        E::Weights => get(statistics::weights),
        E::Hardest => get(statistics::hardest),
        E::Evaluation => get(statistics::evaluation),
        E::Learners => get(statistics::learners),
        E::Model => get(statistics::model),
        E::Events => get(events::events),
        E::OpenApi => get(openapi::document),
        E::Page => get(page::index),
        E::Asset => get(page::asset),
        E::Metrics => get(health::metrics),
        E::Live => get(health::live),
        E::Ready => get(health::ready),
        E::V2Server => get(v2::server),
        E::V2Model => get(v2::model),
        E::V2Ready => get(v2::ready),
        E::V2Infer => post(v2::infer),
        E::Settings => patch(orders::settings),
        E::Pause => post(orders::pause),
        E::Resume => post(orders::resume),
        E::Checkpoint => post(orders::checkpoint),
        E::Rollback => post(orders::rollback),
        E::Discover => post(orders::discover),
    }
}
