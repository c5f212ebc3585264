//! A text that costs something to write, once for all who ask for it meanwhile: so that a crowd at one path costs the others
//! on the same thread no more than one caller does.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};

/// The newest text, and how many were begun.
#[derive(Default)]
pub struct Shared {
    begun: AtomicU64,
    newest: Mutex<(u64, Bytes)>,
}

impl Shared {
    /// A text whose writing began after this was called: never an older one than the caller would have written alone.
    ///
    /// # Errors
    /// When `write` panics.
    pub async fn get(
        &self,
        write: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Bytes, JoinError> {
        let before = self.begun.load(Ordering::Acquire);
        let mut newest = self.newest.lock().await;
        if newest.0 <= before {
            let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
            let text = spawn_blocking(write).await?;
            *newest = (number, Bytes::from(text));
        }
        Ok(newest.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// Asks on a task of its own; `came` counts who has asked.
    fn ask(
        shared: &Arc<Shared>,
        came: &Arc<AtomicU64>,
        write: impl FnOnce() -> String + Send + 'static,
    ) -> JoinHandle<Result<Bytes, JoinError>> {
        let (shared, came) = (Arc::clone(shared), Arc::clone(came));
        tokio::spawn(async move {
            came.fetch_add(1, Ordering::AcqRel);
            shared.get(write).await
        })
    }

    async fn until(counter: &AtomicU64, wanted: u64) {
        while counter.load(Ordering::Acquire) < wanted {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_asks_while_a_text_is_written_shares_the_next_one() {
        let (shared, came) = (Arc::default(), Arc::default());
        let (release, wait) = channel::<()>();
        let first = ask(&shared, &came, move || {
            wait.recv().expect("a release");
            "first".to_owned()
        });
        until(&shared.begun, 1).await;
        let written = Arc::new(AtomicU64::new(1));
        let write = || {
            let written = Arc::clone(&written);
            move || (written.fetch_add(1, Ordering::AcqRel) + 1).to_string()
        };
        let later: Vec<_> = (0..100).map(|_| ask(&shared, &came, write())).collect();
        until(&came, 101).await;
        release.send(()).expect("the first waits for it");
        assert_eq!(first.await.unwrap().unwrap(), "first");
        for asked in later {
            assert_eq!(asked.await.unwrap().unwrap(), "2");
        }
        assert_eq!(ask(&shared, &came, write()).await.unwrap().unwrap(), "3");
    }

    #[tokio::test]
    async fn a_text_that_cannot_be_written_fails_its_caller_and_no_other() {
        let (shared, came) = (Arc::default(), Arc::default());
        let failed = ask(&shared, &came, || panic!("no text"));
        assert!(failed.await.unwrap().is_err());
        let next = ask(&shared, &came, || "text".to_owned());
        assert_eq!(next.await.unwrap().unwrap(), "text");
    }
}
