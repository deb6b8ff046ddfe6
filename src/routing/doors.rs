//! What a worker counts of visitors' connections before anything is asked on them.

use super::counters::{Counter, Gauge};

/// Why a connection is closed before anything is asked on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its client has as many connections as one may have.
    ClientLimit,
    /// It comes from none of the trusted proxies where only those may connect.
    UntrustedProxy,
    /// It does not begin with a PROXY header where it has to.
    NoProxyHeader,
}

impl TurnedAway {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ClientLimit, Self::UntrustedProxy, Self::NoProxyHeader];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientLimit => "client-limit",
            Self::UntrustedProxy => "untrusted-proxy",
            Self::NoProxyHeader => "no-proxy-header",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::ClientLimit => 0,
            Self::UntrustedProxy => 1,
            Self::NoProxyHeader => 2,
        }
    }
}

/// One worker's counts.
#[derive(Debug, Default)]
pub struct DoorTally {
    /// Visitors' connections at this moment.
    pub connections: Gauge,
    /// TLS handshakes that failed or took too long.
    pub handshake_failures: Counter,
    turned_away: [Counter; TurnedAway::ALL.len()],
}

impl DoorTally {
    /// Counts a connection that is closed. Only the worker itself may.
    pub fn turns_away(&self, reason: TurnedAway) {
        self.turned_away[reason.index()].add(1);
    }

    /// How many were closed for this reason.
    #[must_use]
    pub fn turned_away(&self, reason: TurnedAway) -> u64 {
        self.turned_away[reason.index()].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_of_its_own() {
        let tally = DoorTally::default();
        for (times, reason) in TurnedAway::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| tally.turns_away(reason));
        }
        assert_eq!(TurnedAway::ALL.map(|reason| tally.turned_away(reason)), [0, 1, 2]);
    }
}
