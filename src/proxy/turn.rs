//! What a task may pass on before it is the others' turn. Who reads and who writes can keep up with the router for as long
//! as a download lasts; tokio's budget, which counts calls, would let it pass megabytes meanwhile, and a small answer wait
//! for all of them.

use std::task::{Context, Poll};
use tokio::task::coop::{has_budget_remaining, poll_proceed};

/// So many bytes each way; what is in one buffer by then goes as well.
pub(super) const TURN: usize = 64 * 1024;

/// What one unit of tokio's budget for a task's turn pays for, in bytes: it has 128, and all are spent on a whole turn.
const PAID: usize = TURN / 128;

/// Takes what was sent to a visitor, or to one of many on a connection, from the budget of the task's turn. What goes the
/// other way is bounded where it is sent, for it must not use up what the answer needs.
pub(super) fn pay(sent: usize, cx: &mut Context<'_>) {
    for _ in 0..sent / PAID {
        // Asked without any left, it would have the task woken, which may have nothing more to do.
        if !has_budget_remaining() {
            return;
        }
        if let Poll::Ready(unit) = poll_proceed(cx) {
            unit.made_progress();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn a_turn_pays_for_64_kib() {
        let paid = poll_fn(|cx| {
            let mut paid = 0;
            while has_budget_remaining() {
                pay(16 * 1024, cx);
                paid += 16 * 1024;
            }
            Poll::Ready(paid)
        });
        assert_eq!(paid.await, TURN);
    }
}
