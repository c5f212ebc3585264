//! Figures over a stream of unknown length, in a bounded number of points.

/// Points that are kept at most; from there on every second one goes, and only every second one comes.
const MOST: usize = 512;

/// A row of figures every so many examples.
#[derive(Debug, Clone)]
pub struct Course {
    points: Vec<(u64, Vec<f64>)>,
    /// Calls from one point to the next.
    every: u64,
    calls: u64,
    last: Option<(u64, Vec<f64>)>,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            every: 1,
            calls: 0,
            last: None,
        }
    }
}

impl Course {
    /// The figures after so many examples.
    pub fn note(&mut self, examples: u64, figures: &[f64]) {
        self.calls += 1;
        if self.calls.is_multiple_of(self.every) {
            self.points.push((examples, figures.to_vec()));
            if self.points.len() >= MOST {
                let mut index = 0;
                self.points.retain(|_| {
                    index += 1;
                    index % 2 == 0
                });
                self.every *= 2;
            }
            self.last = None;
        } else {
            self.last = Some((examples, figures.to_vec()));
        }
    }

    /// The points in their order, the newest figures among them.
    pub fn points(&self) -> impl Iterator<Item = (u64, &[f64])> {
        self.points
            .iter()
            .chain(&self.last)
            .map(|(examples, figures)| (*examples, figures.as_slice()))
    }

    /// The newest figures.
    #[must_use]
    pub fn last(&self) -> &[f64] {
        let newest = self.last.as_ref().or(self.points.last());
        newest.map_or(&[], |(_, figures)| figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_stand_for_any_length_and_the_newest_is_among_them() {
        let mut course = Course::default();
        assert!(course.last().is_empty());
        for call in 1..=10_007_u64 {
            course.note(call * 64, &[call as f64]);
            assert_eq!(course.last(), [call as f64]);
            assert!(course.points.len() < MOST);
        }
        let points: Vec<u64> = course.points().map(|(examples, _)| examples).collect();
        assert!(points.len() >= MOST / 2, "{}", points.len());
        assert_eq!(points.last(), Some(&(10_007 * 64)));
        assert!(points.is_sorted());
        let gaps: Vec<u64> = points[..points.len() - 1]
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        assert!(gaps.iter().all(|gap| *gap == gaps[0]), "evenly apart");
    }
}
