//! Random numbers that are a function of a seed and a place in the stream: nothing to keep, nothing to restore.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A uniform number below `end` (at least 1) for draw `index` of purpose `stream` after `examples` examples.
pub(super) fn below(seed: u64, stream: u64, examples: u64, index: u64, end: usize) -> usize {
    let mut bytes = [0; 24];
    for (slot, number) in bytes.chunks_exact_mut(8).zip([stream, examples, index]) {
        slot.copy_from_slice(&number.to_le_bytes());
    }
    // The high half of the product: no modulo bias that matters, and no division.
    let hash = u128::from(xxh3_64_with_seed(&bytes, seed));
    ((hash * end as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_repeat() {
        let mut counts = [0; 10];
        for index in 0..10_000 {
            let draw = below(1, 2, 3, index, 10);
            assert_eq!(draw, below(1, 2, 3, index, 10));
            counts[draw] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
        assert_ne!(
            (0..20).map(|i| below(1, 2, 3, i, 1000)).collect::<Vec<_>>(),
            (0..20).map(|i| below(1, 2, 4, i, 1000)).collect::<Vec<_>>()
        );
    }
}
