// SPDX-License-Identifier: Apache-2.0
//! Calls that a connection has just read. Its task runs them as soon as it has read all there is, and
//! only then writes: most are answered in place, and all answers leave in one write. What has to wait
//! becomes a task of its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use hyper::rt::Executor;
use parking_lot::Mutex;

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The calls of one connection that were not run yet; not more than it may have streams.
#[derive(Clone, Default)]
pub(crate) struct Fresh(Arc<Mutex<Vec<Call>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Fresh {
    fn execute(&self, call: F) {
        self.0.lock().push(Box::pin(call));
    }
}

impl Fresh {
    /// Polls the connection, and runs what it reads.
    pub(crate) fn poll<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        context: &mut Context<'_>,
    ) -> Poll<C::Output> {
        loop {
            let polled = connection.as_mut().poll(context);
            let calls = std::mem::take(&mut *self.0.lock());
            if calls.is_empty() {
                return polled;
            }
            calls.into_iter().for_each(run);
            if polled.is_ready() {
                return polled;
            }
        }
    }
}

fn run(mut call: Call) {
    // Nobody is woken by this poll: whoever waits is polled again by its own task.
    let mut context = Context::from_waker(Waker::noop());
    let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context)));
    match polled {
        Ok(Poll::Ready(())) => {}
        Ok(Poll::Pending) => drop(tokio::spawn(call)),
        // The stream is reset, as if its task had panicked; others go on.
        Err(_) => tracing::error!("a call panicked"),
    }
}
