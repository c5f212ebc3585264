//! The Kafka suite against a real Apache Kafka broker, and what only a real one shows.
//!
//! `SKEWD_TEST_BROKER_LIBS` names the folder with the broker's jars, as `.ci/kafka-broker.sh` prints it:
//!
//! ```text
//! SKEWD_TEST_BROKER_LIBS="$(bash .ci/kafka-broker.sh)" cargo test --release --features broker-tests --test broker
//! ```
//!
//! With the feature `tls`, the SASL/SCRAM listener over TLS is tested too. Cases run one after the other on one broker,
//! which is stopped at the end however they go; a case that could not have its broker has failed.

// In a test a panic is the failure report, also in the functions that cases share.
#![allow(clippy::unwrap_used)]

#[path = "broker/cluster.rs"]
mod cluster;
#[path = "broker/harm.rs"]
mod harm;
#[path = "broker/holes.rs"]
mod holes;
mod kafka_suite;
#[path = "broker/program.rs"]
mod program;
#[cfg(feature = "tls")]
#[path = "broker/secure.rs"]
mod secure;
// Shared with the suite of the program; only a part of it is used here.
#[allow(dead_code)]
#[path = "it/support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use cluster::Broker;
use kafka_suite::{basics, faults, outgoing, positions};

type Case = (&'static str, fn(&Broker));

/// Names each function as a case.
macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), |broker| $module::$name(broker))),*]
    };
}

fn cases() -> Vec<Case> {
    #[allow(unused_mut)]
    let mut cases: Vec<Case> = cases![
        basics::every_record_of_every_partition_arrives_once_and_in_order,
        basics::a_backlog_comes_mixed_over_its_partitions,
        basics::keys_headers_empty_values_and_tombstones_arrive_as_they_were,
        basics::starting_at_the_end_reads_only_what_comes_later,
        basics::a_slow_caller_bounds_what_waits_in_memory,
        basics::checking_tells_what_is_there,
        positions::stops_at_any_record_lose_nothing_and_repeat_nothing,
        positions::offset_zero_is_a_position_like_any_other,
        positions::a_log_that_ends_before_the_position_halts,
        positions::a_partition_that_has_disappeared_halts,
        positions::another_cluster_or_topic_halts,
        positions::a_missing_topic_is_awaited_and_read_once_it_is_there,
        positions::group_offsets_follow_the_checkpoint,
        outgoing::dead_letters_arrive_unchanged_with_their_reason,
        outgoing::a_dead_letter_larger_than_its_topic_takes_is_cut_and_says_so,
        outgoing::dead_letters_without_a_topic_stay_pending_and_go_out_once_it_is_there,
        outgoing::dead_letters_wait_on_disk_while_brokers_are_away_and_go_out_in_order,
        outgoing::produced_records_arrive_with_java_s_partitions,
        outgoing::producing_names_what_is_wrong,
        holes::records_deleted_before_the_position_halt_with_the_exact_range,
        holes::a_gap_that_is_allowed_is_counted,
        holes::compaction_leaves_holes_that_are_no_loss,
        holes::aborted_transactions_are_not_read,
        holes::a_partition_that_is_added_is_read_from_its_beginning,
        holes::a_topic_made_anew_halts,
        holes::a_topic_made_anew_between_two_looks_halts_before_its_first_record,
        holes::a_batch_whose_bytes_were_flipped_halts_and_nothing_of_it_is_learned,
        holes::a_broker_that_hangs_is_said_and_costs_nothing,
        program::killed_in_the_middle_a_topic_gives_the_digest_of_a_replay,
        program::a_broker_that_dies_costs_nothing,
        program::killed_in_turn_with_its_broker_it_loses_nothing_and_learns_nothing_twice,
        program::the_crash_test_finds_nothing_on_a_broker,
    ];
    cases.push(("faults::a_source_may_start_before_its_broker", |broker| {
        faults::a_source_may_start_before_its_broker(broker, "early");
    }));
    cases.push(("faults::brokers_that_go_and_come_lose_nothing", |broker| {
        faults::brokers_that_go_and_come_lose_nothing(broker, "flapping", 2);
    }));
    #[cfg(feature = "tls")]
    cases.extend::<Vec<Case>>(cases![
        secure::records_come_over_tls_with_scram,
        secure::a_wrong_password_is_said,
        secure::an_unknown_authority_is_said,
        secure::the_program_produces_and_learns_over_tls,
    ]);
    cases
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let broker = Broker::start();
    let (mut passed, mut failed) = (0, Vec::new());
    let begun = Instant::now();
    for (name, case) in cases() {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| case(&broker)));
        let seconds = started.elapsed().as_secs_f64();
        if outcome.is_ok() {
            passed += 1;
            println!("test {name} ... ok ({seconds:.1} s)");
        } else {
            failed.push(name);
            println!("test {name} ... FAILED ({seconds:.1} s)");
            // The next case finds a broker, whatever this one did to it.
            kafka_suite::Fragile::bring_up(&broker);
        }
    }
    if !failed.is_empty() {
        println!("\nthe end of the broker's log:\n{}", broker.log_end());
        println!("failures: {}", failed.join(", "));
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {} failed; finished in {:.2}s",
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}
