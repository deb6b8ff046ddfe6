//! The station's data logger: a program that measures at a steady rate, whatever the site does, and posts each reading
//! until it has been stored.

use super::Visitor;
use bytes::Bytes;
use http::Method;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Between two readings.
const EVERY: Duration = Duration::from_millis(50);

/// What became of what was posted.
#[derive(Debug, Default, Clone)]
pub struct Posts {
    /// Readings stored, each counted once.
    pub stored: u64,
    /// Answers of 503 that said when to come back.
    pub told_to_wait: u64,
    /// Answers that a reading had been stored before.
    pub doubles: u64,
    /// What else came: errors, other statuses.
    pub failed: Vec<String>,
}

/// A running logger.
pub struct Logger {
    posts: Arc<Mutex<Posts>>,
    measured: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    measuring: JoinHandle<()>,
    posting: Vec<JoinHandle<()>>,
}

impl Logger {
    /// One that posts one reading after the other.
    pub fn start(address: SocketAddr) -> Self {
        Self::over(address, 1)
    }

    /// One that posts over so many connections at the same time.
    pub fn over(address: SocketAddr, connections: usize) -> Self {
        let (posts, measured, stop) = <(Arc<Mutex<Posts>>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let measuring = tokio::spawn(measure(sender, Arc::clone(&measured), Arc::clone(&stop)));
        let posting = (0..connections)
            .map(|_| {
                tokio::spawn(post(
                    Visitor::new(address).of_host("localhost"),
                    Arc::clone(&receiver),
                    Arc::clone(&posts),
                ))
            })
            .collect();
        Self { posts, measured, stop, measuring, posting }
    }

    /// What became of them so far.
    pub fn so_far(&self) -> Posts {
        self.posts.lock().unwrap().clone()
    }

    /// Lets it post what it has, and gives how many readings it has made and what became of them.
    pub async fn stop(mut self) -> (u64, Posts) {
        self.stop.store(true, Ordering::SeqCst);
        (&mut self.measuring).await.unwrap();
        for task in &mut self.posting {
            task.await.unwrap();
        }
        (self.measured.load(Ordering::SeqCst), self.so_far())
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.measuring.abort();
        self.posting.iter().for_each(JoinHandle::abort);
    }
}

async fn measure(readings: mpsc::UnboundedSender<String>, measured: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let number = measured.fetch_add(1, Ordering::SeqCst);
        let reading = json!({
            "id": format!("{:032x}", number + 1),
            "taken_at": jiff::Timestamp::now().to_string(),
            "fahrenheit": 32.0 + f64::from(u32::try_from(number % 90).unwrap()),
        });
        readings.send(reading.to_string()).unwrap();
    }
}

/// Posts readings in order; one that was not stored is posted again, when the answer says so or soon.
async fn post(
    mut site: Visitor,
    readings: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>>,
    posts: Arc<Mutex<Posts>>,
) {
    let headers = [("content-type", "application/json"), ("authorization", "Bearer only-for-trying-it-out")];
    loop {
        let next = readings.lock().await.recv().await;
        let Some(reading) = next else { return };
        loop {
            let answer = site.ask(Method::POST, "/api/readings/", &headers, Bytes::from(reading.clone())).await;
            let wait = note(&mut posts.lock().unwrap(), answer);
            let Some(wait) = wait else { break };
            sleep(wait).await;
        }
    }
}

/// How long to wait until the reading is posted again; nothing if it has been stored.
fn note(posts: &mut Posts, answer: Result<super::Answer, String>) -> Option<Duration> {
    const SOON: Duration = Duration::from_millis(200);
    match answer {
        Ok(answer) if answer.status == 201 => posts.stored += 1,
        Ok(answer) if answer.status == 200 => {
            posts.stored += 1;
            posts.doubles += 1;
        }
        Ok(answer) if answer.status == 503 && answer.header("x-cutover-maintenance").is_some() => {
            posts.told_to_wait += 1;
            let seconds = answer.header("retry-after").and_then(|value| value.parse().ok());
            return Some(Duration::from_secs(seconds.expect("an answer of 503 says when to come back")));
        }
        Ok(answer) => {
            posts.failed.push(format!("{} {}", answer.status, answer.text()));
            return Some(SOON);
        }
        Err(error) => {
            posts.failed.push(error);
            return Some(SOON);
        }
    }
    None
}
