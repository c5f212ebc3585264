//! Brokers that are away.

use skewd::example::Positions;
use skewd::stream::Source;

use super::Fragile;
use super::tools::*;

pub fn a_source_may_start_before_its_broker(cluster: &dyn Fragile, topic: &str) {
    cluster.create_topic(topic, 2);
    fill(cluster, topic, 2, 50);
    cluster.take_down();
    let mut source = open(&settings(cluster, topic), &Positions::default());
    poll_until(&mut source, "degraded for want of an answer", |source| {
        let status = source.status();
        status.state == "degraded" && status.detail.contains("no answer from")
    });
    cluster.bring_up();
    learn(&mut Positions::default(), &read(&mut source, 100));
    assert_eq!(source.status().state, "running");
}

pub fn brokers_that_go_and_come_lose_nothing(cluster: &dyn Fragile, topic: &str, rounds: i64) {
    cluster.create_topic(topic, 2);
    let mut source = open(&settings(cluster, topic), &Positions::default());
    let mut held = Positions::default();
    for round in 0..rounds {
        let filler = Filler::new(cluster, topic);
        for partition in 0..2 {
            filler.fill(partition, round * 200..(round + 1) * 200);
        }
        learn(&mut held, &read(&mut source, 150));
        cluster.take_down();
        poll_until(&mut source, "degraded", |source| {
            source.status().state == "degraded"
        })
        .chunks(1)
        .for_each(|record| learn(&mut held, record));
        cluster.bring_up();
        let seen = held.0.values().sum::<i64>();
        let left = usize::try_from((round + 1) * 400 - seen).expect("no record came twice");
        learn(&mut held, &read(&mut source, left));
        poll_until(&mut source, "running", |source| {
            source.status().state == "running"
        });
    }
    assert_eq!(held, positions(&[(0, rounds * 200), (1, rounds * 200)]));
    assert_eq!(source.counts().repeated, 0);
}
