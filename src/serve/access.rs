//! Who may call: the rules for tokens, and the check of the `Host` header that keeps other web pages out.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::http::{HeaderMap, Uri, Version, header};

use super::problem::{Code, Problem};
use super::tokens::Tokens;

/// What a request's token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// No token, or none is asked for.
    Anyone,
    /// The public listener's token.
    Reader,
    /// The admin token.
    Admin,
}

/// The rules of both listeners.
pub struct Access {
    /// Tokens of the public listener; none = open to whoever can connect.
    public: ArcSwapOption<Tokens>,
    /// Tokens of the admin listener.
    admin: ArcSwap<Tokens>,
    /// Further accepted host names, in lower case; `*` accepts any.
    pub hosts: Vec<String>,
    failures: Mutex<Failures>,
}

/// A bucket of failed attempts that leaks ten a second. It is one for all peers: a valid token is never
/// held up by it, so filling it locks nobody out.
struct Failures {
    level: f64,
    at: Instant,
}

const FAILURES_A_SECOND: f64 = 10.0;
const FAILURES_AT_ONCE: f64 = 100.0;

impl Access {
    /// Rules from the tokens and the configured host names.
    #[must_use]
    pub fn new(public: Option<Tokens>, admin: Tokens, hosts: &[String]) -> Self {
        Self {
            public: ArcSwapOption::from_pointee(public),
            admin: ArcSwap::from_pointee(admin),
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            failures: Mutex::new(Failures {
                level: 0.0,
                at: Instant::now(),
            }),
        }
    }

    /// True when the public listener wants a token.
    #[must_use]
    pub fn wants_token(&self) -> bool {
        self.public.load().is_some()
    }

    /// From here on these are the tokens of the public listener; true when they are others than before.
    pub fn set_public(&self, tokens: Tokens) -> bool {
        let is_new = self.public.load().as_deref() != Some(&tokens);
        if is_new {
            self.public.store(Some(Arc::new(tokens)));
        }
        is_new
    }

    /// From here on these are the tokens of the admin listener; true when they are others than before.
    pub fn set_admin(&self, tokens: Tokens) -> bool {
        let is_new = **self.admin.load() != tokens;
        if is_new {
            self.admin.store(Arc::new(tokens));
        }
        is_new
    }

    /// Who sends this request.
    ///
    /// # Errors
    /// 401 for a token that is not known, 429 when too many of those came.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(Caller::Anyone);
        };
        if let Some(token) = bearer(value.as_bytes()) {
            if self.admin.load().accept(token) {
                return Ok(Caller::Admin);
            }
            if self
                .public
                .load()
                .as_ref()
                .is_some_and(|tokens| tokens.accept(token))
            {
                return Ok(Caller::Reader);
            }
        }
        // Where nothing is asked for, a stray header is not an error: proxies add them.
        if !self.wants_token() {
            return Ok(Caller::Anyone);
        }
        Err(self.failed())
    }

    /// The answer to a failed attempt.
    pub fn failed(&self) -> Problem {
        let now = Instant::now();
        let mut failures = match self.failures.lock() {
            Ok(failures) => failures,
            Err(poisoned) => poisoned.into_inner(),
        };
        let leaked = now.duration_since(failures.at).as_secs_f64() * FAILURES_A_SECOND;
        failures.level = (failures.level - leaked).max(0.0);
        failures.at = now;
        if failures.level >= FAILURES_AT_ONCE {
            return Problem::new(
                Code::TooManyFailures,
                "too many requests with a wrong token: wait, and check the token",
            );
        }
        failures.level += 1.0;
        Problem::new(
            Code::Unauthorized,
            "send the token as the header `Authorization: Bearer TOKEN`",
        )
    }

    /// Refuses names that a hostile web page could have pointed at this address (DNS rebinding). IP
    /// addresses cannot be re-pointed, so any of them will do.
    ///
    /// # Errors
    /// 403 for an unknown name, 400 when HTTP/1.1 came without one.
    pub fn check_host(
        &self,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let mut values = headers.get_all(header::HOST).iter();
        let value = match (values.next(), values.next()) {
            (Some(_), Some(_)) => {
                return Err(Problem::new(
                    Code::HostMissing,
                    "send one Host header, not several",
                ));
            }
            (Some(value), None) => value.to_str().unwrap_or_default(),
            // A URI in absolute form names its host itself.
            (None, _) => match uri.authority() {
                Some(authority) => authority.as_str(),
                None if version <= Version::HTTP_10 => return Ok(()),
                None => {
                    return Err(Problem::new(Code::HostMissing, "send a Host header"));
                }
            },
        };
        if self.knows(value) {
            return Ok(());
        }
        Err(Problem::new(
            Code::HostNotAllowed,
            "this name is not one of the daemon's: call it by address or localhost, or add the name to \
             http.hosts",
        ))
    }

    fn knows(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        if name == "localhost" || name.ends_with(".localhost") {
            return true;
        }
        let address = name
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(name);
        address.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|known| known == "*" || known == name)
    }
}

/// The token of `Authorization: Bearer TOKEN`; the scheme's case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
        .filter(|token| !token.is_empty())
}

/// `name:port` or `[address]:port` without the port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            if name.contains(':') && !name.starts_with('[') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn access(public: Option<&str>) -> Access {
        Access::new(
            public.map(|token| Tokens::parse(token).unwrap()),
            Tokens::parse("admin-token").unwrap(),
            &["Models.example.org".to_owned()],
        )
    }

    fn authorization(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn host(name: &str) -> Result<(), Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(name).unwrap());
        access(None).check_host(Version::HTTP_11, &Uri::from_static("/"), &headers)
    }

    #[test]
    fn tokens_tell_callers_apart() {
        let access = access(Some("reader-token\nolder-token\n"));
        assert_eq!(access.caller(&HeaderMap::new()), Ok(Caller::Anyone));
        for (value, caller) in [
            ("Bearer reader-token", Caller::Reader),
            ("bearer older-token", Caller::Reader),
            ("Bearer admin-token", Caller::Admin),
        ] {
            assert_eq!(access.caller(&authorization(value)), Ok(caller), "{value}");
        }
        for wrong in ["Bearer reader-toke", "Bearer ", "Basic reader-token", "x"] {
            let problem = access.caller(&authorization(wrong)).unwrap_err();
            assert_eq!(problem.code, Code::Unauthorized, "{wrong}");
        }
    }

    #[test]
    fn a_flood_of_wrong_tokens_is_turned_away_and_a_right_one_still_passes() {
        let access = access(Some("reader-token"));
        let codes: Vec<Code> = (0..2_000)
            .map(|_| {
                access
                    .caller(&authorization("Bearer guess"))
                    .unwrap_err()
                    .code
            })
            .collect();
        assert_eq!(codes[0], Code::Unauthorized);
        assert!(codes.contains(&Code::TooManyFailures));
        let right = access.caller(&authorization("Bearer reader-token"));
        assert_eq!(right, Ok(Caller::Reader));
    }

    #[test]
    fn names_that_can_be_pointed_elsewhere_are_refused() {
        for good in [
            "localhost",
            "localhost:8080",
            "LOCALHOST.:1",
            "skewd.localhost:8080",
            "127.0.0.1:8080",
            "10.1.2.3",
            "[::1]:8080",
            "[::1]",
            "models.example.org:443",
        ] {
            assert_eq!(host(good), Ok(()), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8080",
            "",
            "example.org",
        ] {
            assert_eq!(host(bad).unwrap_err().code, Code::HostNotAllowed, "{bad}");
        }
    }

    #[test]
    fn a_host_is_needed_once() {
        let access = access(None);
        let uri = Uri::from_static("/");
        let none = HeaderMap::new();
        let missing = access.check_host(Version::HTTP_11, &uri, &none);
        assert_eq!(missing.unwrap_err().code, Code::HostMissing);
        assert_eq!(access.check_host(Version::HTTP_10, &uri, &none), Ok(()));
        let mut twice = HeaderMap::new();
        twice.append(header::HOST, HeaderValue::from_static("localhost"));
        twice.append(header::HOST, HeaderValue::from_static("localhost"));
        let several = access.check_host(Version::HTTP_11, &uri, &twice);
        assert_eq!(several.unwrap_err().code, Code::HostMissing);
    }
}
