//! Random numbers that are a function of a seed and a place in the stream: nothing to keep, nothing to restore.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A uniform number below `end` (at least 1) for draw `index` of purpose `stream` after `examples` examples.
///
/// ```
/// use skewd::random::below;
/// assert_eq!(below(7, 0, 100, 0, 10), below(7, 0, 100, 0, 10));
/// assert!(below(7, 0, 100, 1, 10) < 10);
/// ```
#[must_use]
pub fn below(seed: u64, stream: u64, examples: u64, index: u64, end: usize) -> usize {
    let mut bytes = [0; 24];
    for (slot, number) in bytes.chunks_exact_mut(8).zip([stream, examples, index]) {
        slot.copy_from_slice(&number.to_le_bytes());
    }
    // The high half of the product: no modulo bias that matters, and no division.
    let hash = u128::from(xxh3_64_with_seed(&bytes, seed));
    ((hash * end as u128) >> 64) as usize
}

/// Where number `seen` (from 1) of a stream enters a uniform sample of `room` (Vitter 1985, algorithm R): at the next free
/// place, over another, or, `None`, not at all.
#[must_use]
pub fn reservoir(seed: u64, stream: u64, examples: u64, seen: u64, room: usize) -> Option<usize> {
    let place = if seen <= room as u64 {
        seen.saturating_sub(1) as usize
    } else {
        below(seed, stream, examples, 0, seen as usize)
    };
    (place < room).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_of_a_stream_is_kept_with_the_same_chance() {
        let mut kept = vec![0_u32; 100];
        for seed in 0..2000 {
            let mut sample = vec![0; 10];
            for seen in 1..=100 {
                if let Some(place) = reservoir(seed, 1, seen, seen, 10) {
                    sample[place] = seen as usize;
                }
            }
            for number in sample {
                kept[number - 1] += 1;
            }
        }
        // 200 each, with a deviation of 13.
        assert!(
            kept.iter().all(|count| (140..260).contains(count)),
            "{kept:?}"
        );
    }

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
