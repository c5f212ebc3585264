//! Work that would hold up other requests: on threads of its own, and on no more of them than there are processors. More
//! at once would get nothing done sooner: it would only take memory, and time from the threads that accept and refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::guard::Permit;
use super::problem::{Code, Problem};

/// Who may work now; the others wait in the order in which they came.
#[derive(Clone)]
pub struct Turns {
    free: Arc<Semaphore>,
    at_once: usize,
    /// How long a request may wait: work that is begun late is not answered in time, and then it was in vain.
    patience: Duration,
    load: Arc<Load>,
}

/// What tells how long a turn is to be waited for.
#[derive(Default)]
struct Load {
    waiting: AtomicUsize,
    /// Running mean of the nanoseconds that a work takes; 0 = not known yet.
    mean: AtomicU64,
}

/// Counts who waits, also when the waiting is given up.
struct Waiter(Arc<Load>);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Takes a place at the end; answers how many are before it.
    fn enter(self: &Arc<Self>) -> (Waiter, usize) {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        (Waiter(Arc::clone(self)), before)
    }

    /// How long those before are expected to take.
    fn expected(&self, before: usize, at_once: usize) -> Duration {
        let mean = self.mean.load(Ordering::Relaxed);
        Duration::from_nanos(mean.saturating_mul(before as u64) / at_once as u64)
    }

    fn worked(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.mean.load(Ordering::Relaxed);
        let next = if mean == 0 {
            took
        } else {
            mean - mean / 8 + took / 8
        };
        // Another thread's figure may be lost: it is as good as this one.
        self.mean.store(next, Ordering::Relaxed);
    }
}

impl Turns {
    fn new(at_once: usize, patience: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(at_once)),
            at_once,
            patience,
            load: Arc::default(),
        }
    }

    /// As many as there are processors, for requests that may take so long in all.
    pub fn one_a_core(request_timeout: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores, request_timeout / 2)
    }

    /// Waits for a turn, and does the work on a thread of its own; the permit and the turn stay taken meanwhile, also when
    /// the client has gone.
    ///
    /// # Errors
    /// When no turn came in time, or the work panicked.
    pub async fn take<T: Send + 'static>(
        &self,
        permit: Permit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (waiter, before) = self.load.enter();
        // Half of the patience: what is expected may be wrong, and a refusal that comes at once costs the least.
        if self.load.expected(before, self.at_once) > self.patience / 2 {
            return Err(too_many());
        }
        let Ok(turn) = timeout(self.patience, Arc::clone(&self.free).acquire_owned()).await else {
            return Err(too_many());
        };
        drop(waiter);
        let load = Arc::clone(&self.load);
        blocking(move || {
            // Dropped after the work, also when it panics.
            let _held = (permit, turn);
            let began = Instant::now();
            let result = work();
            load.worked(began.elapsed());
            result
        })
        .await
    }
}

fn too_many() -> Problem {
    Problem::new(
        Code::Busy,
        "more requests wait for a processor than can be answered in time: try again later",
    )
}

/// Runs work on a thread of its own.
///
/// # Errors
/// When the work panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        tracing::error!("work of a request panicked");
        Problem::new(
            Code::Internal,
            "the request could not be answered: the daemon's log says more",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    async fn permit() -> Permit {
        Permit(Arc::new(
            Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap(),
        ))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_work_is_done_at_once_than_there_are_turns_and_all_of_it_is_done() {
        let turns = Turns::new(2, LONG);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..40 {
            let (turns, now, most) = (turns.clone(), Arc::clone(&now), Arc::clone(&most));
            waiting.spawn(async move {
                let work = move || {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                    now.fetch_sub(1, SeqCst);
                    number
                };
                turns.take(permit().await, work).await.ok().unwrap()
            });
        }
        let mut done = waiting.join_all().await;
        done.sort_unstable();
        assert_eq!(done, (0..40).collect::<Vec<_>>());
        assert!(most.load(SeqCst) <= 2, "{most:?} at once");
    }

    #[tokio::test]
    async fn who_gets_no_turn_in_time_is_told_to_come_back_and_nothing_is_done_for_it() {
        let turns = Turns::new(1, Duration::from_millis(1));
        let (go_on, held) = channel::<()>();
        let (began, begun) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let (turns, permit) = (turns.clone(), permit().await);
            async move {
                let work = move || {
                    began.send(()).unwrap();
                    held.recv().unwrap();
                };
                turns.take(permit, work).await
            }
        });
        begun.await.unwrap();
        let late = turns.take(permit().await, || panic!("not its turn")).await;
        let late: Result<(), Problem> = late;
        assert_eq!(late.unwrap_err().code, Code::Busy);
        go_on.send(()).unwrap();
        assert!(first.await.unwrap().is_ok());
        assert_eq!(turns.take(permit().await, || 7).await.ok(), Some(7));
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_at_once_and_waits_when_there_is_hope() {
        let turns = Turns::new(2, Duration::from_secs(8));
        turns.load.worked(Duration::from_secs(1));
        let ahead: Vec<Waiter> = (0..9).map(|_| turns.load.enter().0).collect();
        // Nine before it, a second each, two at once: 4.5 seconds, and half of the patience is 4.
        let refused = turns.take(permit().await, || 1).await;
        assert_eq!(refused.unwrap_err().code, Code::Busy);
        drop(ahead);
        assert_eq!(turns.take(permit().await, || 1).await.ok(), Some(1));
        // Those that gave up are not counted, and the mean follows what work takes now.
        assert_eq!(turns.load.waiting.load(SeqCst), 0);
        assert!(turns.load.expected(8, 2) < Duration::from_secs(4));
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_turn_back() {
        let turns = Turns::new(1, LONG);
        let failed = turns.take(permit().await, || panic!("a test's")).await;
        assert!(failed.map(|()| 0).is_err());
        assert_eq!(turns.take(permit().await, || 7).await.ok(), Some(7));
    }
}
