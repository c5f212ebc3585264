//! What a Kafka source must do, told against any cluster: librdkafka's in-process one (`tests/kafka.rs`) or a
//! real broker (`tests/broker.rs`).

// Each of the two test programs uses a part of it.
#![allow(dead_code)]
// In a test a panic is the failure report.
#![allow(clippy::unwrap_used)]

pub mod basics;
pub mod faults;
pub mod outgoing;
pub mod positions;
pub mod tools;

/// A cluster under test.
pub trait Cluster {
    /// `host:port` of its brokers.
    fn brokers(&self) -> String;
    /// Creates a topic and waits until it is there.
    fn create_topic(&self, topic: &str, partitions: i32);
}

/// A cluster whose brokers can go away and come back with what they had.
pub trait Fragile: Cluster {
    /// Takes all brokers away.
    fn take_down(&self);
    /// Brings them back.
    fn bring_up(&self);
}
