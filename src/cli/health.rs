//! `skewd health`: what a container's health check runs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::{Failure, HealthArgs};
use crate::config::Config;
use crate::serve::tls::pinned_client;

/// How long a healthy daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the daemon on `http.listen`; and on `admin.listen` whether it lives, where callers have taken all connections of the former.
///
/// # Errors
/// 74 when nobody answers, 70 when the answer is not 200.
pub fn run(config: &Config, args: &HealthArgs) -> Result<(), Failure> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let (public, admin) = (&config.http, &config.admin);
    let mut asked = (&public.listen, &public.tls_cert);
    let mut answer = ask(asked.0, asked.1, path)?;
    // Else it answers 200 as long as it lives.
    if answer.0 == 503 && !args.ready {
        asked = (&admin.listen, &admin.tls_cert);
        answer = ask(asked.0, asked.1, path)?;
    }
    let (status, text) = answer;
    println!("{}", text.trim());
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(Failure::internal(format!(
            "{}{path} answered {status}",
            asked.0
        )))
    }
}

/// Status and body of one GET. A daemon that listens on every address answers on loopback too.
fn ask(listen: &str, tls_cert: &str, path: &str) -> Result<(u16, String), Failure> {
    let address = listen
        .replace("0.0.0.0:", "127.0.0.1:")
        .replace("[::]:", "[::1]:");
    if tls_cert.is_empty() {
        plain(&format!("http://{address}{path}"))
    } else {
        encrypted(Path::new(tls_cert), &address, path)
    }
}

fn plain(url: &str) -> Result<(u16, String), Failure> {
    let mut answer = agent(PATIENCE)
        .get(url)
        .call()
        .map_err(|error| Failure::io(format!("{url} does not answer: {error}")))?;
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    Ok((answer.status().as_u16(), text))
}

/// One GET over TLS, to a server that must show the certificate of the settings.
fn encrypted(cert: &Path, address: &str, path: &str) -> Result<(u16, String), Failure> {
    let silent = |error: &dyn std::fmt::Display| {
        Failure::io(format!("https://{address}{path} does not answer: {error}"))
    };
    let client = pinned_client(cert)
        .map_err(|reason| Failure::config(format!("http.tls_cert: {reason}")))?;
    let name = ServerName::try_from("localhost").map_err(Failure::internal)?;
    let session = ClientConnection::new(Arc::new(client), name).map_err(Failure::internal)?;
    let to: SocketAddr = address.parse().map_err(|error| silent(&error))?;
    let socket = TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| silent(&error))?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| silent(&error))?;
    let mut stream = StreamOwned::new(session, socket);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .map_err(|error| silent(&error))?;
    let mut answer = Vec::new();
    // Some servers close without TLS's own goodbye; what was read is what there is.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let Some(status) = status else {
        return Err(silent(&"no HTTP answer"));
    };
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// A client that takes every status as an answer.
pub(super) fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .build()
        .into()
}
