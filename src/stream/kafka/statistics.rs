//! The part of librdkafka's statistics that skewd reads.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    #[serde(default)]
    hi_offset: i64,
}

/// High watermarks of the partitions of `topic`; what is unknown (or not understood) is left out.
pub(super) fn high_watermarks(text: &[u8], topic: &str) -> BTreeMap<i32, i64> {
    let Ok(mut statistics) = serde_json::from_slice::<Statistics>(text) else {
        return BTreeMap::new();
    };
    let partitions = statistics
        .topics
        .remove(topic)
        .map(|topic| topic.partitions);
    partitions
        .unwrap_or_default()
        .into_iter()
        .map(|(partition, facts)| (partition, facts.hi_offset))
        .filter(|(partition, high)| *partition >= 0 && *high >= 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_watermarks_and_internal_partitions_are_left_out() {
        let text = br#"{"name":"x","topics":{"t":{"topic":"t","partitions":{
            "-1":{"partition":-1,"hi_offset":7},"0":{"hi_offset":41,"lo_offset":3},"1":{"hi_offset":-1001}}},
            "other":{"partitions":{"0":{"hi_offset":9}}}}}"#;
        assert_eq!(high_watermarks(text, "t"), BTreeMap::from([(0, 41)]));
        assert!(high_watermarks(b"not json", "t").is_empty());
    }
}
