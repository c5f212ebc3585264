//! Callers that cost little: one thread, one `epoll`, requests that are written as they lie, and of an answer only what tells
//! where it ends is read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Requests of a steady rate leave at every tick of this clock.
const TICK: Duration = Duration::from_micros(500);
const CLOCK: u64 = u64::MAX;

/// What the callers saw.
#[derive(Default)]
pub struct Seen {
    /// Seconds from the moment when a request was due to the end of its answer.
    pub latencies: Vec<f64>,
    pub seconds: f64,
    /// Answers of another status than 200.
    pub refused: usize,
}

impl Seen {
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// The latency that this share of the requests did not exceed, in milliseconds.
    pub fn at(&mut self, share: f64) -> f64 {
        self.latencies.sort_by(f64::total_cmp);
        let last = self.latencies.len().saturating_sub(1);
        let place = (last as f64 * share) as usize;
        self.latencies
            .get(place)
            .map_or(f64::NAN, |seconds| seconds * 1e3)
    }
}

/// One request, as the bytes that go over the wire.
pub fn request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    due: Option<Instant>,
}

/// Every connection asks again as soon as it has its answer; or, with a `rate`, the next free one when a request is due.
pub fn ask(
    address: &str,
    connections: usize,
    requests: &[Vec<u8>],
    rate: Option<f64>,
    duration: Duration,
) -> Seen {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    let mut all: Vec<Connection> = (0..connections).map(|_| connect(address)).collect();
    for (index, connection) in all.iter().enumerate() {
        let number = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, &connection.stream, number, epoll::EventFlags::IN).expect("a socket");
    }
    let clock = rate.map(|_| ticking(&poll));
    let begun = Instant::now();
    let mut free: Vec<usize> = (0..connections).rev().collect();
    let mut waiting = std::collections::VecDeque::new();
    let (mut turn, mut came, mut seen) = (0, 0_u64, Seen::default());
    let mut events = Vec::with_capacity(connections + 1);
    if rate.is_none() {
        for connection in &mut all {
            connection.send(next(requests, &mut turn), begun);
        }
    }
    while begun.elapsed() < duration {
        events.clear();
        epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&timespec(Duration::from_millis(100))),
        )
        .expect("events");
        for event in &events {
            let number = event.data.u64();
            if number == CLOCK {
                let mut ticks = [0; 8];
                let clock = clock.as_ref().expect("a clock");
                if rustix::io::read(clock, &mut ticks).is_ok() {
                    came += u64::from_ne_bytes(ticks);
                }
                continue;
            }
            let connection = &mut all[number as usize];
            let Some(status) = connection.receive() else {
                continue;
            };
            let due = connection.due.take().expect("a request before an answer");
            match status {
                200 => seen.latencies.push(due.elapsed().as_secs_f64()),
                _ => seen.refused += 1,
            }
            if rate.is_some() {
                free.push(number as usize);
            } else {
                connection.send(next(requests, &mut turn), Instant::now());
            }
        }
        let Some(rate) = rate else { continue };
        let now = TICK.as_secs_f64() * came as f64;
        while waiting.len() as f64 + (turn as f64) < rate * now {
            // Due at its tick, however late this loop comes to look at it.
            let number = (waiting.len() + turn) as f64;
            let tick = (number / rate / TICK.as_secs_f64()).ceil().max(1.0);
            waiting.push_back(begun + TICK.mul_f64(tick));
        }
        while let (Some(due), Some(place)) = (waiting.front(), free.last()) {
            all[*place].send(next(requests, &mut turn), *due);
            waiting.pop_front();
            free.pop();
        }
    }
    seen.seconds = begun.elapsed().as_secs_f64();
    seen
}

fn next<'a>(requests: &'a [Vec<u8>], turn: &mut usize) -> &'a [u8] {
    *turn += 1;
    &requests[*turn % requests.len()]
}

fn connect(address: &str) -> Connection {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_nonblocking(true).expect("a socket option");
    Connection {
        stream,
        buffer: vec![0; 4096],
        filled: 0,
        due: None,
    }
}

fn ticking(poll: &impl std::os::fd::AsFd) -> std::os::fd::OwnedFd {
    let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).expect("a clock");
    let every = Itimerspec {
        it_interval: timespec(TICK),
        it_value: timespec(TICK),
    };
    timerfd_settime(&clock, TimerfdTimerFlags::empty(), &every).expect("a clock that ticks");
    let number = epoll::EventData::new_u64(CLOCK);
    epoll::add(poll, &clock, number, epoll::EventFlags::IN).expect("a clock");
    clock
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).expect("a short time")
}

impl Connection {
    fn send(&mut self, request: &[u8], due: Instant) {
        self.due = Some(due);
        let mut left = request;
        // Large ones fill the socket's buffer: then its reader is what is waited for.
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(sent) => left = &left[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("a request could not be sent: {error}"),
            }
        }
    }

    /// Status of the answer, once all of it is here.
    fn receive(&mut self) -> Option<u16> {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => panic!("the connection was closed"),
            Ok(count) => self.filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("no answer: {error}"),
        }
        let answer = &self.buffer[..self.filled];
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&answer[..head]).expect("a head in ASCII");
        let length = text
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|value| value.parse::<usize>().ok())
            .expect("a length");
        let status = text[9..12].parse().expect("a status");
        if head + length > self.buffer.len() {
            self.buffer.resize(head + length, 0);
        }
        if self.filled < head + length {
            return None;
        }
        self.filled = 0;
        Some(status)
    }
}
