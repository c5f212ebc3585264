//! TLS and secrets in files: what is served, what is refused, and that a change needs no restart.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::support::{Daemon, PATIENCE, refused, skewd};

/// A certificate for localhost and its key, as files.
fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (
        dir.join(format!("{name}.pem")),
        dir.join(format!("{name}.key")),
    );
    std::fs::write(&cert, made.cert.pem()).unwrap();
    secret(&key, &made.signing_key.serialize_pem());
    (cert, key)
}

fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// GET over TLS from a server that must show this certificate: the answer, or why there is none.
fn get(address: &str, cert: &Path, path: &str, token: &str) -> Result<String, String> {
    let client = skewd::serve::tls::pinned_client(cert)?;
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(client), name).unwrap();
    let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    let authorization = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}connection: close\r\n\r\n"
    )
    .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8(answer).unwrap())
}

fn until(mut what: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline, "it did not come about in time");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn both_listeners_speak_tls_and_take_up_new_certificates_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path(), "public");
    let (admin_cert, admin_key) = certificate(dir.path(), "admin");
    let tokens = dir.path().join("tokens");
    secret(&tokens, "the-first-token-of-the-public-listener\n");
    let set = |key: &str, value: &Path| format!("{key}={}", value.display());
    let settings = [
        set("http.tls_cert", &cert),
        set("http.tls_key", &key),
        set("http.token_file", &tokens),
        set("admin.tls_cert", &admin_cert),
        set("admin.tls_key", &admin_key),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&dir.path().join("data"), &settings);
    let first = "the-first-token-of-the-public-listener";
    let answer = get(&daemon.address, &cert, "/v1/model", first).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let answer = get(&daemon.address, &cert, "/v1/model", "").unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = get(&daemon.admin, &admin_cert, "/healthz", "").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(get(&daemon.admin, &cert, "/healthz", "").is_err());
    // Who does not speak TLS gets nothing.
    let mut plain = TcpStream::connect(&daemon.address).unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // The container's health check knows the way.
    let listen = format!("http.listen={}", daemon.address);
    let health = skewd(&[
        "health",
        "--set",
        &listen,
        "--set",
        settings[0],
        "--set",
        settings[1],
    ]);
    assert_eq!(health.status.code(), Some(0), "{health:?}");

    secret(&tokens, "the-second-token-of-the-public-listener\n");
    let second = "the-second-token-of-the-public-listener";
    until(|| {
        get(&daemon.address, &cert, "/v1/model", second)
            .unwrap()
            .starts_with("HTTP/1.1 200")
    });
    let answer = get(&daemon.address, &cert, "/v1/model", first).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    // Files that cannot be used change nothing: the second token and the first certificate stay.
    let old = dir.path().join("old.pem");
    std::fs::copy(&cert, &old).unwrap();
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&cert, "no certificate").unwrap();
    std::thread::sleep(3 * skewd::serve::keeper::LOOK_EVERY);
    let is_served = |cert: &Path| {
        get(&daemon.address, cert, "/v1/model", second)
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    };
    assert!(is_served(&old));
    let (new_cert, new_key) = certificate(dir.path(), "new");
    std::fs::copy(&new_key, &key).unwrap();
    std::fs::copy(&new_cert, &cert).unwrap();
    until(|| is_served(&cert));
    assert!(!is_served(&old));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn certificates_that_cannot_be_served_end_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path(), "good");
    let (_, other_key) = certificate(dir.path(), "other");
    let open_key = dir.path().join("open.key");
    std::fs::copy(&key, &open_key).unwrap();
    std::fs::set_permissions(&open_key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for (cert, key, told) in [
        (&cert, &open_key, "chmod 600"),
        (&cert, &other_key, "do not go together"),
        (&key, &key, "holds no certificate"),
        (&cert, &dir.path().join("absent"), "cannot be opened"),
    ] {
        let (code, errors) = refused(
            &dir.path().join("data"),
            &[
                &format!("http.tls_cert={}", cert.display()),
                &format!("http.tls_key={}", key.display()),
            ],
        );
        assert_eq!(code, Some(78), "{errors}");
        assert!(
            errors.contains("http.tls_cert") && errors.contains(told),
            "{errors}"
        );
    }
}
