//! The accept loop with real sockets on loopback. No test asserts a duration.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::serve::listen::Drained;

struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: JoinHandle<std::io::Result<Drained>>,
}

fn start(house: &House) -> Running {
    start_with(house, Limits::of(&house.app.settings))
}

fn start_with(house: &House, limits: Limits) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let ended = tokio::spawn(run(listener, house.public(), limits, None, stopped));
    Running {
        address,
        stop,
        ended,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// Everything until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is a close too.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// One answer with a content length, the connection staying open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        assert_ne!(
            stream.read_buf(&mut bytes).await.unwrap(),
            0,
            "closed early: {text}"
        );
    }
}

/// Returns once a listener with one place has it free again.
async fn room_comes_back(running: &Running) {
    for attempt in 0.. {
        assert!(
            attempt < 1000,
            "the room of a closed connection never came back"
        );
        let mut again = running.connect().await;
        // A connection that is turned away may be closed before it was written to.
        if again.write_all(PROBE.as_bytes()).await.is_ok() {
            let mut start = [0_u8; 12];
            if again.read_exact(&mut start).await.is_ok() && &start == b"HTTP/1.1 200" {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const PROBE: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let house = House::new();
    let running = start(&house);
    let mut stream = running.connect().await;
    for _ in 0..3 {
        stream.write_all(PROBE.as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_closed_and_room_comes_back() {
    let house = House::limited(Settings {
        max_connections: 1,
        ..Settings::default()
    });
    let running = start(&house);
    let mut first = running.send(PROBE).await;
    answer(&mut first).await;
    let mut second = running.connect().await;
    let text = rest(&mut second).await;
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert!(
        text.contains("retry-after: 1") && text.contains("\"code\":\"unavailable\""),
        "{text}"
    );
    drop(first);
    room_comes_back(&running).await;
}

#[tokio::test]
async fn where_idle_connections_are_evicted_the_oldest_gives_way_and_who_is_answered_stays() {
    let house = House::limited(Settings {
        max_connections: 4,
        ..Settings::default()
    });
    let running = start_with(
        &house,
        Limits {
            evicts: true,
            ..Limits::of(&house.app.settings)
        },
    );
    // One whose body is waited for, one that asked and stays open, one that never ends its head, one that is silent.
    let mut busy = running
        .send("POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n")
        .await;
    let mut asked = running.send(PROBE).await;
    answer(&mut asked).await;
    let _slow = running.send("GET /healthz HTTP/1.1\r\nhost: local").await;
    let _silent = running.connect().await;
    for _ in 0..20 {
        let mut one_more = running.send(PROBE).await;
        let text = answer(&mut one_more).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    }
    assert_eq!(rest(&mut asked).await, "");
    busy.write_all(b"{").await.unwrap();
    let text = answer(&mut busy).await;
    assert!(
        text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 503 "),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_hung_up_on() {
    let house = House::limited(Settings {
        max_connections: 1,
        write_timeout_ms: 50,
        ..Settings::default()
    });
    let running = start(&house);
    // Several megabytes: more than the buffers between two sockets hold.
    let _stalled = running
        .send("GET /assets/plotly.js HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    while house.facts.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    room_comes_back(&running).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_hung_up_on() {
    let house = House::limited(Settings {
        header_timeout_ms: 50,
        ..Settings::default()
    });
    let running = start(&house);
    let mut slow = running.send("GET /healthz HTTP/1.1\r\nhost: local").await;
    let mut silent = running.connect().await;
    assert!(!rest(&mut slow).await.contains("200 OK"));
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let house = House::new();
    let running = start(&house);
    let many = "x: 1\r\n".repeat(100);
    let long = format!("x: {}\r\n", "1".repeat(20_000));
    for headers in [many, long] {
        let head = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        let mut stream = running.send(&head).await;
        let text = rest(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    }
}

#[tokio::test]
async fn a_body_that_never_comes_is_answered_408() {
    let house = House::limited(Settings {
        request_timeout_ms: 50,
        ..Settings::default()
    });
    let running = start(&house);
    let head = "POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 10\r\n\r\n{";
    let mut stream = running.send(head).await;
    let text = rest(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
}

#[tokio::test]
async fn a_drain_lets_a_running_request_finish() {
    let house = House::serving(42);
    let running = start(&house);
    let body = r#"{"rows":[[1,"a"]],"min_offset":{"0":50},"wait_ms":9000}"#;
    let head = format!(
        "POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = running.send(&head).await;
    let mut idle = running.send(PROBE).await;
    answer(&mut idle).await;
    while !house
        .facts
        .lock()
        .unwrap()
        .iter()
        .any(|fact| matches!(fact, HttpFact::Began { .. }))
    {
        tokio::task::yield_now().await;
    }
    running.stop.send_replace(true);
    // An idle connection is closed at once; the running request gets its answer.
    assert_eq!(rest(&mut idle).await, "");
    house.publish(Fake::new(9, 50));
    let text = rest(&mut stream).await;
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\"model_version\":9"),
        "{text}"
    );
    assert_eq!(running.ended.await.unwrap().unwrap(), Drained { cut: 0 });
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let house = House::limited(Settings {
        drain_timeout_ms: 50,
        ..Settings::default()
    });
    house.publish(Fake::new(1, 42));
    let running = start(&house);
    let body = r#"{"rows":[[1,"a"]],"min_offset":{"0":50},"wait_ms":9000}"#;
    let head = format!(
        "POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _stream = running.send(&head).await;
    while house.facts.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    running.stop.send_replace(true);
    assert_eq!(running.ended.await.unwrap().unwrap(), Drained { cut: 1 });
}
