//! `GET /v1/events`: server-sent events, one `board` whenever there is something new, at most two a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::guard::Gate;
use super::problem::{Code, Problem};
use super::statistics::{Point, total};
use super::{App, Status};
use crate::absgd::stats::WeightReport;
use crate::learner::{Counts, Discovering, HardExample, MemberView, Warning};

/// Between two events.
const PACE: Duration = Duration::from_millis(500);
/// An event comes at least this often, so that lag and state stay true while nothing is learned.
const REFRESH: Duration = Duration::from_secs(3);
/// Warnings in an event.
const WARNINGS_SHOWN: usize = 6;
/// Hardest examples in an event.
const HARDEST_SHOWN: usize = 12;

/// What the page shows.
#[derive(Serialize)]
struct Live<'a> {
    ready: bool,
    draining: bool,
    model_version: u64,
    step: u64,
    examples: u64,
    loss: Option<f64>,
    pr_auc: Option<f64>,
    balanced_accuracy: Option<f64>,
    weights: Option<&'a WeightReport>,
    point: Option<Point>,
    /// Those of a portfolio; empty for one learner.
    learners: Vec<Voice<'a>>,
    hardest: &'a [HardExample],
    /// The newest last.
    warnings: &'a [Warning],
    counts: Option<&'a Counts>,
    discovering: Option<Discovering>,
    source: Source<'a>,
    examples_per_second: f64,
    paused: bool,
    digest_examples: Option<u64>,
}

/// What a learner of a portfolio counts for, and why.
#[derive(Serialize)]
struct Voice<'a> {
    name: &'a str,
    share: f64,
    score: Option<f64>,
    score_interval: Option<[f64; 2]>,
}

impl<'a> From<&'a MemberView> for Voice<'a> {
    fn from(member: &'a MemberView) -> Self {
        Self {
            name: &member.name,
            share: member.share,
            score: member.score,
            score_interval: member.score_interval,
        }
    }
}

#[derive(Serialize)]
struct Source<'a> {
    kind: &'a str,
    state: &'a str,
    detail: &'a str,
    lag: i64,
}

pub async fn events(State(gate): State<Arc<Gate>>) -> Result<Response, Problem> {
    let place = Arc::clone(&gate.subscribers)
        .try_acquire_owned()
        .map_err(|_| {
            Problem::new(
                Code::Busy,
                "as many subscribers as allowed are listening: close one, or poll /v1/weights",
            )
        })?;
    let (sender, receiver) = mpsc::channel(1);
    let app = Arc::clone(&gate.app);
    tokio::spawn(async move {
        tell(&app, &sender).await;
        drop(place);
    });
    let alive = KeepAlive::new().interval(Duration::from_secs(10));
    Ok(Sse::new(ReceiverStream::new(receiver))
        .keep_alive(alive)
        .into_response())
}

/// Sends events until the subscriber leaves or the daemon stops.
async fn tell(app: &App, sender: &mpsc::Sender<Result<Event, Infallible>>) {
    let mut updates = app.updates.clone();
    let mut draining = app.draining.clone();
    loop {
        updates.mark_unchanged();
        let event = Event::default()
            .event("board")
            .retry(PACE * 2)
            .data(text(app));
        tokio::select! {
            sent = sender.send(Ok(event)) => if sent.is_err() { return },
            () = stopped(&mut draining) => return,
        }
        tokio::select! {
            () = sleep(PACE) => {}
            () = sender.closed() => return,
            () = stopped(&mut draining) => return,
        }
        tokio::select! {
            // An ended learner publishes nothing more; the refresh goes on.
            _ = timeout(REFRESH, changed(&mut updates)) => {}
            () = sender.closed() => return,
            () = stopped(&mut draining) => return,
        }
    }
}

async fn changed(updates: &mut tokio::sync::watch::Receiver<u64>) {
    if updates.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Resolves once the daemon is asked to stop; a daemon that is gone has stopped too.
async fn stopped(draining: &mut tokio::sync::watch::Receiver<bool>) {
    drop(draining.wait_for(|draining| *draining).await);
}

fn text(app: &App) -> String {
    let status = app.status.load();
    let board = app.board.load();
    let model = (app.model)();
    let last = board.as_ref().and_then(|board| board.history.last());
    let window = board.as_ref().map(|board| &board.evaluation.window);
    let live = Live {
        ready: model.is_some(),
        draining: *app.draining.borrow(),
        model_version: model.as_ref().map_or(0, |model| model.version()),
        step: board.as_ref().map_or(0, |board| board.step),
        examples: board.as_ref().map_or(0, |board| board.examples),
        loss: board.as_ref().map(|board| board.weights.mean_loss),
        pr_auc: window.and_then(|window| window.pr_auc_rare),
        balanced_accuracy: window.and_then(|window| window.balanced_accuracy),
        weights: board.as_ref().map(|board| &board.weights),
        point: last.map(Point::from),
        learners: board.as_ref().map_or_else(Vec::new, |board| {
            board.members.iter().map(Voice::from).collect()
        }),
        hardest: board.as_ref().map_or(&[], |board| {
            &board.hardest[..board.hardest.len().min(HARDEST_SHOWN)]
        }),
        warnings: board.as_ref().map_or(&[], |board| {
            &board.warnings[board.warnings.len().saturating_sub(WARNINGS_SHOWN)..]
        }),
        counts: board.as_ref().map(|board| &board.counts),
        discovering: board.as_ref().and_then(|board| board.discovering.clone()),
        source: source(&status),
        examples_per_second: status.examples_per_second,
        paused: status.paused,
        digest_examples: status.digest_examples,
    };
    // Only maps with keys that are not texts could fail, and there are none.
    serde_json::to_string(&live).unwrap_or_else(|_| "{}".to_owned())
}

fn source(status: &Status) -> Source<'_> {
    Source {
        kind: &status.source.kind,
        state: &status.source.state,
        detail: &status.source.detail,
        lag: total(&status.source.lag),
    }
}
