//! The tables `[http]` and `[admin]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[http]`: the public listener and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port.
    pub listen: String,
    /// File with the token that callers must send (`Authorization: Bearer ...`), one a line; empty = none.
    pub token_file: String,
    /// Off loopback without a token: allowed only when this is true.
    pub insecure: bool,
    /// Names under which the daemon is reached, besides loopback names and IP addresses.
    pub hosts: Vec<String>,
    /// TLS certificate; TLS is not terminated here.
    pub tls_cert: String,
    /// TLS key; TLS is not terminated here.
    pub tls_key: String,
    /// Largest body of a request other than an ingest, in bytes.
    pub max_body_bytes: usize,
    /// Largest body of an ingest request, in bytes.
    pub max_ingest_bytes: usize,
    /// Most records of an ingest request.
    pub max_ingest_records: usize,
    /// Bodies of all requests that are being received or answered, together, in bytes.
    pub max_buffered_bytes: usize,
    /// Most rows of a predict request.
    pub max_rows: usize,
    /// Open connections; more are answered 503 and closed.
    pub max_connections: usize,
    /// Requests being answered; more are answered 429.
    pub max_in_flight: usize,
    /// Subscribers to the live events; more are answered 429.
    pub max_subscribers: usize,
    /// From the connection (or the last answer) to the end of a request's head.
    pub header_timeout_ms: u64,
    /// From the head to the answer.
    pub request_timeout_ms: u64,
    /// How long a client may read nothing of its answer.
    pub write_timeout_ms: u64,
    /// How long open requests may go on after a stop was asked for.
    pub drain_timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            token_file: String::new(),
            insecure: false,
            hosts: Vec::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
            max_body_bytes: 1 << 20,
            max_ingest_bytes: 8 << 20,
            max_ingest_records: 100_000,
            max_buffered_bytes: 128 << 20,
            max_rows: 1024,
            max_connections: 1024,
            max_in_flight: 256,
            max_subscribers: 64,
            header_timeout_ms: 5_000,
            request_timeout_ms: 10_000,
            write_timeout_ms: 10_000,
            drain_timeout_ms: 10_000,
        }
    }
}

/// `[admin]`: the listener for changes. Its limits are those of `[http]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Address and port.
    pub listen: String,
    /// File with the token; empty = `admin.token` in the data directory, made at the first start.
    pub token_file: String,
    /// TLS certificate; TLS is not terminated here.
    pub tls_cert: String,
    /// TLS key; TLS is not terminated here.
    pub tls_key: String,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".to_owned(),
            token_file: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
        }
    }
}

/// Key inside the table, and what is wrong with its value and what to do.
type Finding = (String, String);

impl Settings {
    /// The address to bind.
    ///
    /// # Errors
    /// When `listen` is not an IP address (or `localhost`) with a port.
    pub fn address(&self) -> Result<SocketAddr, String> {
        address(&self.listen)
    }

    /// True when only this machine can reach the listener.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.address().is_ok_and(|at| at.ip().is_loopback())
    }

    /// # Errors
    /// The first key whose value cannot be used, with the reason.
    pub fn check(&self) -> Result<(), Finding> {
        let at = self.address().map_err(|why| finding("listen", why))?;
        both(&self.tls_cert, &self.tls_key)?;
        if !at.ip().is_loopback() && self.token_file.is_empty() && !self.insecure {
            return Err(finding(
                "listen",
                format!(
                    "{at} can be reached from other machines: name a token_file, or set insecure = true to \
                     serve anyone who can connect"
                ),
            ));
        }
        self.check_hosts()?;
        self.check_numbers()
    }

    fn check_hosts(&self) -> Result<(), Finding> {
        let plain = |host: &&String| {
            !host.is_empty()
                && host.len() <= 253
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_*".contains(&byte))
        };
        match self.hosts.iter().find(|host| !plain(host)) {
            None => Ok(()),
            Some(host) => Err(finding(
                "hosts",
                format!(
                    "{host:?} is not a host name: give names without a scheme and a port, or \"*\" for any"
                ),
            )),
        }
    }

    fn check_numbers(&self) -> Result<(), Finding> {
        let sizes = [
            ("max_body_bytes", self.max_body_bytes, 1 << 10, 1 << 30),
            ("max_ingest_bytes", self.max_ingest_bytes, 1 << 10, 1 << 30),
            ("max_ingest_records", self.max_ingest_records, 1, 10_000_000),
            (
                "max_buffered_bytes",
                self.max_buffered_bytes,
                1 << 16,
                1 << 36,
            ),
            ("max_rows", self.max_rows, 1, 1 << 20),
            ("max_connections", self.max_connections, 1, 65_536),
            ("max_in_flight", self.max_in_flight, 1, 65_536),
            ("max_subscribers", self.max_subscribers, 0, 65_536),
        ];
        for (key, value, low, high) in sizes {
            within(key, value as u64, low, high)?;
        }
        let times = [
            ("header_timeout_ms", self.header_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("drain_timeout_ms", self.drain_timeout_ms),
        ];
        for (key, value) in times {
            within(key, value, 1, 3_600_000)?;
        }
        let largest = self.max_body_bytes.max(self.max_ingest_bytes);
        if self.max_buffered_bytes < largest {
            return Err(finding(
                "max_buffered_bytes",
                format!(
                    "{} is less than one body may have ({largest}): raise it, or lower max_ingest_bytes and \
                     max_body_bytes",
                    self.max_buffered_bytes
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

impl AdminSettings {
    /// The address to bind.
    ///
    /// # Errors
    /// When `listen` is not an IP address (or `localhost`) with a port.
    pub fn address(&self) -> Result<SocketAddr, String> {
        address(&self.listen)
    }

    /// # Errors
    /// The first key whose value cannot be used, with the reason.
    pub fn check(&self) -> Result<(), Finding> {
        let at = self.address().map_err(|why| finding("listen", why))?;
        both(&self.tls_cert, &self.tls_key)?;
        if !at.ip().is_loopback() && self.token_file.is_empty() {
            return Err(finding(
                "listen",
                format!(
                    "{at} can be reached from other machines: name a token_file, or listen on 127.0.0.1"
                ),
            ));
        }
        Ok(())
    }
}

/// An IP address and a port; `localhost` stands for 127.0.0.1.
fn address(listen: &str) -> Result<SocketAddr, String> {
    if let Some(port) = listen.strip_prefix("localhost:")
        && let Ok(port) = port.parse()
    {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    listen.parse().map_err(|_| {
        format!("{listen:?} is not an address: give an IP address and a port, as in 127.0.0.1:8080")
    })
}

/// Both files of TLS or none.
fn both(cert: &str, key: &str) -> Result<(), Finding> {
    match (cert.is_empty(), key.is_empty()) {
        (false, true) => Err(finding(
            "tls_key",
            "tls_cert is given without it: name the file of the private key (PEM, mode 600), or leave both empty",
        )),
        (true, false) => Err(finding(
            "tls_cert",
            "tls_key is given without it: name the file of the certificate chain (PEM), or leave both empty",
        )),
        _ => Ok(()),
    }
}

fn within(key: &str, value: u64, low: u64, high: u64) -> Result<(), Finding> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(finding(
            key,
            format!("{value} is out of range: give a number from {low} to {high}"),
        ))
    }
}

fn finding(key: &str, why: impl Into<String>) -> Finding {
    (key.to_owned(), why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Settings)) -> (String, String) {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check().unwrap_err()
    }

    #[test]
    fn the_defaults_are_accepted_and_stay_on_this_machine() {
        let settings = Settings::default();
        settings.check().unwrap();
        assert!(settings.is_loopback());
        AdminSettings::default().check().unwrap();
    }

    #[test]
    fn off_loopback_needs_a_token_or_the_word_insecure() {
        let (key, why) = refused(|s| s.listen = "0.0.0.0:8080".into());
        assert_eq!(key, "listen");
        assert!(
            why.contains("token_file") && why.contains("insecure"),
            "{why}"
        );
        for open in ["0.0.0.0:80", "[::]:80", "192.168.1.4:80"] {
            let mut settings = Settings {
                listen: open.into(),
                token_file: "token".into(),
                ..Settings::default()
            };
            settings.check().unwrap();
            settings.token_file.clear();
            settings.check().unwrap_err();
            settings.insecure = true;
            settings.check().unwrap();
        }
    }

    #[test]
    fn the_admin_listener_off_loopback_needs_its_token_named() {
        let mut admin = AdminSettings {
            listen: "0.0.0.0:8081".into(),
            ..AdminSettings::default()
        };
        assert_eq!(admin.check().unwrap_err().0, "listen");
        admin.token_file = "token".into();
        admin.check().unwrap();
    }

    #[test]
    fn a_certificate_needs_its_key_and_a_key_its_certificate() {
        let (key, why) = refused(|s| s.tls_cert = "cert.pem".into());
        assert_eq!(key, "tls_key");
        assert!(why.contains("mode 600"), "{why}");
        assert_eq!(refused(|s| s.tls_key = "key.pem".into()).0, "tls_cert");
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        assert_eq!(refused(|s| s.listen = "8080".into()).0, "listen");
        assert_eq!(refused(|s| s.max_rows = 0).0, "max_rows");
        assert_eq!(refused(|s| s.max_in_flight = 0).0, "max_in_flight");
        assert_eq!(
            refused(|s| s.request_timeout_ms = 0).0,
            "request_timeout_ms"
        );
        assert_eq!(
            refused(|s| s.max_buffered_bytes = 1 << 17).0,
            "max_buffered_bytes"
        );
        assert_eq!(refused(|s| s.hosts = vec!["http://a".into()]).0, "hosts");
    }

    #[test]
    fn localhost_is_loopback() {
        let settings = Settings {
            listen: "localhost:0".into(),
            ..Settings::default()
        };
        assert!(settings.is_loopback());
    }
}
