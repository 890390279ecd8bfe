//! Work for several threads, with results in the order of the work.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Does everything in `work` on this many threads.
pub(super) fn run<W: Sync, R: Send>(
    work: &[W],
    threads: usize,
    job: impl Fn(usize, &W) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(work.len()));
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, work.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = work.get(index) else { return };
                    let result = job(index, item);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_keep_the_order_of_the_work() {
        let work: Vec<u64> = (0..20).collect();
        let doubled = super::run(&work, 3, |index, item| {
            std::thread::sleep(std::time::Duration::from_millis((20 - item) / 4));
            assert_eq!(index as u64, *item);
            item * 2
        });
        assert_eq!(doubled, (0..20).map(|item| item * 2).collect::<Vec<_>>());
        assert!(super::run(&[] as &[u64], 3, |_, item| *item).is_empty());
    }
}
