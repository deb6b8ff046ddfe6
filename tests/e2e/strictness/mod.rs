//! The bytes of `raw_http1` and `raw_http2` against other proxies, for comparison. A case is safe when it is refused, or
//! passes in a form that can be read in one way only, without what is barred.

mod proxies;

use crate::harness::frames::{FrameConnection, Reaction, get};
use crate::raw_http1::answers::{self, Answering};
use crate::raw_http1::requests::{self, Case};
use crate::raw_http1::unsafe_because;
use crate::raw_http1::wire::{Recorder, exchange};
use crate::raw_http2;
use proxies::{Kind, Protocols, Proxy};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a proxy may be silent before it counts as one that waits for more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Safe cases and all of them, by class.
struct Counts {
    proxy: &'static str,
    classes: BTreeMap<String, [u32; 2]>,
}

impl Counts {
    /// Notes a case, and says why it is not safe.
    fn note(&mut self, class: String, name: &str, why: Option<&str>) {
        if let Some(why) = why {
            println!("{}: {class}: {name}: {why}", self.proxy);
        }
        let [good, all] = self.classes.entry(class).or_default();
        *good += u32::from(why.is_none());
        *all += 1;
    }

    async fn of_requests(&mut self, address: SocketAddr, origin: &Recorder) {
        for case in &requests::corpus() {
            let Case { want, bytes, class, .. } = case;
            // What is answered may differ; what reaches the origin is judged.
            exchange(address, bytes, want.statuses().len(), &want.heads(), PATIENCE).await;
            let why = unsafe_because(case, &origin.settled().await);
            self.note(format!("HTTP/1.1 requests: {class}"), &case.name, why.as_deref());
        }
    }

    async fn of_answers(&mut self, address: SocketAddr) {
        for (number, case) in answers::corpus().iter().enumerate() {
            let why = answers::fault(address, number, case, false).await;
            self.note(format!("HTTP/1.1 answers: {}", case.class), &case.name(), why.as_deref());
        }
    }

    async fn of_frames(&mut self, protocols: &str, address: SocketAddr, origin: &Recorder) {
        for case in &raw_http2::corpus() {
            let (connection, reaction) = case.run(address).await;
            let seen = origin.settled().await;
            drop(connection);
            let why = case.unsafe_because(reaction, &seen);
            self.note(format!("{protocols}: {}", case.class), &case.name, why.as_deref());
        }
        // Who refuses everything has passed for nothing.
        let mut connection = FrameConnection::open(address).await;
        connection.send(&get(1, "/page")).await;
        assert_eq!(connection.reaction(1).await, Reaction::Status(200), "{protocols} by {}", self.proxy);
        origin.settled().await;
    }
}

/// A table as the README has it.
fn table(all: &[Counts]) -> String {
    let mut text = String::from("| safe / all |");
    for counts in all {
        write!(text, " {} |", counts.proxy).unwrap();
    }
    text += "\n|---|";
    text += &"---|".repeat(all.len());
    for class in all[0].classes.keys() {
        write!(text, "\n| {class} |").unwrap();
        for Counts { classes, .. } in all {
            match classes.get(class) {
                Some([good, all]) => write!(text, " {good} / {all} |").unwrap(),
                None => text += " – |",
            }
        }
    }
    text += "\n| **all** |";
    for counts in all {
        let [good, all] = counts.classes.values().fold([0, 0], |[good, all], [more, of]| [good + more, all + of]);
        write!(text, " **{good} / {all}** |").unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a comparison, run by benches/strictness"]
async fn safe_cases_of_each_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let start = async |kind, protocol, target| Proxy::start(kind, protocol, target, folder.path()).await;
    let mut all = Kind::ALL.map(|kind| Counts { proxy: kind.name(), classes: BTreeMap::new() });
    for (kind, counts) in Kind::ALL.into_iter().zip(&mut all) {
        let origin = Recorder::start().await;
        let proxy = start(kind, Protocols::Http2ToHttp1, origin.address).await;
        counts.of_frames("HTTP/2 to HTTP/1.1", proxy.address, &origin).await;
    }
    for (kind, counts) in Kind::ALL.into_iter().zip(&mut all).filter(|(kind, _)| kind.speaks(Protocols::Http2)) {
        let origin = raw_http2::origin::start().await;
        let proxy = start(kind, Protocols::Http2, origin.address).await;
        counts.of_frames("HTTP/2 to HTTP/2", proxy.address, &origin).await;
    }
    for (kind, counts) in Kind::ALL.into_iter().zip(&mut all) {
        let origin = Recorder::start().await;
        let proxy = start(kind, Protocols::Http1, origin.address).await;
        counts.of_requests(proxy.address, &origin).await;
        drop(proxy);
        let answering = Answering::start(Arc::from(answers::corpus())).await;
        let proxy = start(kind, Protocols::Http1, answering.address).await;
        counts.of_answers(proxy.address).await;
    }
    println!("{}", table(&all));
}
