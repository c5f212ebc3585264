//! What is counted on every HTTP request. Each thread keeps the handles of the series that it has used: looking one up by
//! name and labels costs several times as much as the count.

use std::cell::{LazyCell, RefCell};
use std::collections::BTreeMap;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Route, method and status; as many as the closed sets allow.
type Series = (&'static str, &'static str, u16);

struct Meters {
    answered: Counter,
    seconds: Histogram,
}

thread_local! {
    static IN_FLIGHT: LazyCell<Gauge> = LazyCell::new(|| gauge!("skewd_http_requests_in_flight"));
    static REQUESTS: RefCell<BTreeMap<Series, Meters>> = const { RefCell::new(BTreeMap::new()) };
}

/// Notes how many requests are being answered.
pub fn record_in_flight(in_flight: usize) {
    IN_FLIGHT.with(|gauge| gauge.set(in_flight as f64));
}

/// Notes that a request was answered. `route` and `method` come from closed sets. Called after [`super::install`].
pub fn record_request(route: &'static str, method: &'static str, status: u16, seconds: f64) {
    REQUESTS.with_borrow_mut(|requests| {
        let meters = requests
            .entry((route, method, status))
            .or_insert_with(|| Meters {
                answered: counter!("skewd_http_requests_total",
                    "route" => route, "method" => method, "code" => status.to_string()),
                seconds: histogram!("skewd_http_request_duration_seconds",
                    "route" => route, "method" => method),
            });
        meters.answered.increment(1);
        meters.seconds.record(seconds);
    });
}
