//! What every request passes, in this order: who calls, by which name, is there room, is the body small and
//! quick enough, is the answer in time. A handler behind it sees a complete body and a known caller.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant as Deadline, timeout_at};

use super::access::Caller;
use super::media::content_type;
use super::problem::{Code, Problem};
use super::routes::{Load, Route, find};
use super::shared::Shared;
use super::turns::Turns;
use super::{App, HttpFact};

/// Which listener a router belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// For everybody who may read.
    Public,
    /// For operators.
    Admin,
}

/// State of one listener: what the daemon lent, and the room that is left.
pub struct Gate {
    pub app: Arc<App>,
    listener: Listener,
    /// One permit a request in flight.
    permits: Arc<Semaphore>,
    /// One permit a KiB of body held in memory.
    kilobytes: Arc<Semaphore>,
    /// One permit a subscriber to the events.
    pub subscribers: Arc<Semaphore>,
    /// Requests that may wait for the model to learn: no more than half of all, so that others find a place.
    pub waits: Arc<Semaphore>,
    /// For work that takes a processor for a while.
    pub turns: Turns,
    /// The text of `/metrics`, which many may ask for at once.
    pub scrapes: Shared,
    in_flight: AtomicUsize,
}

/// Held as long as the request costs something; blocking work keeps a clone.
#[derive(Clone)]
pub struct Permit(
    #[expect(dead_code, reason = "held for its drop")] pub(super) Arc<OwnedSemaphorePermit>,
);

const KILOBYTE: usize = 1024;
/// How much of a refused body is read over, and for how long.
const LINGER_BYTES: usize = 32 << 20;
const LINGER: Duration = Duration::from_secs(1);

impl Gate {
    pub fn new(app: Arc<App>, listener: Listener) -> Self {
        let settings = &app.settings;
        Self {
            permits: Arc::new(Semaphore::new(settings.max_in_flight)),
            kilobytes: Arc::new(Semaphore::new(settings.max_buffered_bytes / KILOBYTE)),
            subscribers: Arc::new(Semaphore::new(settings.max_subscribers)),
            waits: Arc::new(Semaphore::new(settings.max_in_flight.div_ceil(2))),
            turns: Turns::one_a_core(settings.request_timeout()),
            scrapes: Shared::default(),
            in_flight: AtomicUsize::new(0),
            listener,
            app,
        }
    }

    fn admit(&self, route: &Route, request: &Request) -> Result<(), Problem> {
        let access = &self.app.access;
        let headers = request.headers();
        let caller = access.caller(headers);
        // A web page does not know a token: who sends a right one is no page of somebody else's.
        if !matches!(caller, Ok(Caller::Reader | Caller::Admin)) {
            access.check_host(request.version(), request.uri(), headers)?;
        }
        match route.caller {
            Caller::Anyone => Ok(()),
            Caller::Reader if !access.wants_token() => Ok(()),
            least => match caller? {
                caller if caller >= least => Ok(()),
                Caller::Reader => Err(Problem::new(
                    Code::Forbidden,
                    "this needs the admin token; the token sent is that of the public listener",
                )),
                _ => Err(access.failed()),
            },
        }
    }

    fn acquire(&self, route: &Route) -> Result<Option<Permit>, Problem> {
        if route.load == Load::Probe {
            return Ok(None);
        }
        if *self.app.draining.borrow() {
            return Err(
                Problem::new(Code::Draining, "the daemon is shutting down: try another")
                    .header(header::CONNECTION, "close"),
            );
        }
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(Some(Permit(Arc::new(permit)))),
            Err(_) => Err(Problem::new(
                Code::Busy,
                "as many requests as allowed are being answered: try again later",
            )),
        }
    }

    fn body_limit(&self, load: Load) -> usize {
        match load {
            Load::Records => self.app.settings.max_ingest_bytes,
            Load::Json | Load::Rows | Load::Tensors => self.app.settings.max_body_bytes,
            // Clients that send `{}` where nothing is needed are not turned away.
            Load::Probe | Load::Read | Load::Stream => KILOBYTE,
        }
    }

    /// Takes the whole body, within its limit and the listener's room.
    async fn body(&self, body: Body, headers: &HeaderMap, limit: usize) -> Result<Held, Problem> {
        let mut body = body;
        if declared(headers).is_some_and(|length| length > limit as u64) {
            // A client that asked first has sent nothing yet.
            if !headers.contains_key(header::EXPECT) {
                read_over(&mut body).await;
            }
            return Err(too_large(limit));
        }
        let mut held = Held {
            bytes: BytesMut::new(),
            room: None,
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Problem::new(
                    Code::InvalidRequest,
                    "the body ended before it was complete",
                )
                .header(header::CONNECTION, "close")
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if held.bytes.len() + data.len() > limit {
                read_over(&mut body).await;
                return Err(too_large(limit));
            }
            held.bytes.extend_from_slice(&data);
            held.reserve(&self.kilobytes)?;
        }
        Ok(held)
    }

    /// The request's way from its head to its answer.
    async fn pass(&self, route: &Route, request: Request, next: Next) -> Result<Response, Problem> {
        self.admit(route, &request)?;
        content_type(route.load, request.headers())?;
        let deadline = Deadline::now() + self.app.settings.request_timeout();
        let (parts, body) = request.into_parts();
        let limit = self.body_limit(route.load);
        // The body comes before the permit: a client that sends slowly holds a connection, not a place.
        let held = match timeout_at(deadline, self.body(body, &parts.headers, limit)).await {
            Ok(held) => held?,
            Err(_) => {
                return Err(Problem::new(
                    Code::RequestTimeout,
                    "the body did not arrive in time: send it faster, or in smaller requests",
                )
                .header(header::CONNECTION, "close"));
            }
        };
        let permit = self.acquire(route)?;
        let Held { bytes, room } = held;
        let mut request = Request::from_parts(parts, Body::from(bytes.freeze()));
        if let Some(permit) = &permit {
            request.extensions_mut().insert(permit.clone());
        }
        let answered = timeout_at(deadline, unwinding(next.run(request))).await;
        drop(room);
        match answered {
            Ok(response) => response,
            Err(_) => Err(Problem::new(
                Code::DeadlineExceeded,
                "no answer in time: send less at once, or try again later",
            )),
        }
    }
}

/// A body in memory and the room it takes.
struct Held {
    bytes: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn reserve(&mut self, kilobytes: &Arc<Semaphore>) -> Result<(), Problem> {
        let have = self
            .room
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let more = self.bytes.len().div_ceil(KILOBYTE).saturating_sub(have);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(kilobytes).try_acquire_many_owned(more) else {
            return Err(Problem::new(
                Code::Busy,
                "the bodies being received fill the memory set aside for them: try again later",
            )
            .header(header::CONNECTION, "close"));
        };
        match &mut self.room {
            Some(all) => all.merge(room),
            None => self.room = Some(room),
        }
        Ok(())
    }
}

/// Counts a request from its head to its answer, also when the client goes away in between.
struct Observed<'a> {
    gate: &'a Gate,
    route: &'static str,
    method: &'static str,
    status: u16,
    began: Instant,
}

/// Status of a request whose client went away first (nginx's convention).
const CLIENT_CLOSED: u16 = 499;

impl<'a> Observed<'a> {
    fn begin(gate: &'a Gate, route: &'static str, method: &Method) -> Self {
        let in_flight = gate.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        (gate.app.observe)(HttpFact::Began { in_flight });
        Self {
            gate,
            route,
            method: method_label(method),
            status: CLIENT_CLOSED,
            began: Instant::now(),
        }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let in_flight = self.gate.in_flight.fetch_sub(1, Ordering::Relaxed) - 1;
        (self.gate.app.observe)(HttpFact::Ended {
            route: self.route,
            method: self.method,
            status: self.status,
            seconds: self.began.elapsed().as_secs_f64(),
            in_flight,
        });
    }
}

/// The one middleware.
pub async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched
        .as_ref()
        .and_then(|path| find(gate.listener, path.as_str(), request.method()));
    let label = route.map_or("unmatched", |route| route.path);
    let mut observed = Observed::begin(&gate, label, request.method());
    let answer = match route {
        Some(route) => gate.pass(route, request, next).await,
        None => stray(&gate, request, next).await,
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    secure(response.headers_mut());
    observed.status = response.status().as_u16();
    response
}

/// A request that no route takes. Strangers learn nothing about which paths exist.
async fn stray(gate: &Gate, request: Request, next: Next) -> Result<Response, Problem> {
    let access = &gate.app.access;
    access.check_host(request.version(), request.uri(), request.headers())?;
    let (parts, _) = request.into_parts();
    let response = next.run(Request::from_parts(parts, Body::empty())).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response.headers().get(header::ALLOW).cloned();
        let mut problem = Problem::new(
            Code::MethodNotAllowed,
            "the path exists, but not with this method: see the Allow header",
        );
        if let Some(allow) = allow {
            problem.headers.push((header::ALLOW, allow));
        }
        return Err(problem);
    }
    Err(Problem::new(
        Code::NotFound,
        "no such path: /openapi.json on the public listener lists them",
    ))
}

/// A panic in a handler is this request's failure and nobody else's.
async fn unwinding(answer: impl Future<Output = Response>) -> Result<Response, Problem> {
    let mut answer = std::pin::pin!(answer);
    std::future::poll_fn(|context| {
        let poll = std::panic::AssertUnwindSafe(|| answer.as_mut().poll(context));
        match std::panic::catch_unwind(poll) {
            Ok(poll) => poll.map(Ok),
            Err(_) => {
                tracing::error!("a request handler panicked");
                std::task::Poll::Ready(Err(Problem::new(
                    Code::Internal,
                    "the request could not be answered: the daemon's log says more",
                )))
            }
        }
    })
    .await
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Reads over the rest of a body that is refused, keeping nothing of it: a client that is still sending would see a
/// closed connection instead of the answer. For a moment and up to a size only; then the connection is closed on it.
async fn read_over(body: &mut Body) {
    let mut left = LINGER_BYTES;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whichever way it ends, the answer is the same.
    let _ = tokio::time::timeout(LINGER, rest).await;
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("the body has more than {limit} bytes: send it in several requests"),
    )
    .with("limit_bytes", serde_json::json!(limit))
    .header(header::CONNECTION, "close")
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Headers of every answer; a handler that set one keeps it.
fn secure(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// How long is left of a request that waits for something, keeping time to answer.
pub fn patience(app: &App, wanted: Duration) -> Duration {
    let whole = app.settings.request_timeout();
    wanted.min(whole.saturating_sub(whole / 10))
}
