//! `skewd health`: what a container's health check runs.

use std::time::Duration;

use super::{Failure, HealthArgs};
use crate::config::Config;

/// How long a healthy daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the daemon on `http.listen`.
///
/// # Errors
/// 74 when nobody answers, 70 when the answer is not 200.
pub fn run(config: &Config, args: &HealthArgs) -> Result<(), Failure> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    // A daemon that listens on every address answers on loopback too.
    let address = config
        .http
        .listen
        .replace("0.0.0.0:", "127.0.0.1:")
        .replace("[::]:", "[::1]:");
    let url = format!("http://{address}{path}");
    let mut answer = agent(PATIENCE)
        .get(&url)
        .call()
        .map_err(|error| Failure::io(format!("{url} does not answer: {error}")))?;
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    println!("{}", text.trim());
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(Failure::internal(format!(
            "{url} answered {}",
            answer.status()
        )))
    }
}

/// A client that takes every status as an answer.
pub(super) fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .build()
        .into()
}
