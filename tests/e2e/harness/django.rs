//! The Django example as a reader would set it up: two copies of it under gunicorn, each in a folder of its own, on one
//! PostgreSQL database, and the router before them with the example's own configuration.

use super::postgres::free_name;
use super::{Answer, LONG, Postgres, Router, Setup, Visitor, eventually, free_address, run, until};
use bytes::Bytes;
use http::Method;
use std::fs::{File, read_to_string};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use tokio::sync::OnceCell;

/// Of the one person who may log in.
pub const USER: &str = "ada";
pub const PASSWORD: &str = "a-password-of-the-test";

const EXAMPLE: &str = "config/examples/django";

/// Notices soon that a copy is up or down, and never takes a busy machine for a dead copy.
const PATIENT_HEALTH: &str = "interval = \"250ms\"\ntimeout = \"5s\"\nrise = 1";

/// Where `tests/run` has installed Django and gunicorn.
const ENVIRONMENT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/django-environment");

/// The first release, ready to be copied: its static files collected, its tables made.
struct Prepared {
    folder: PathBuf,
    database: String,
}

static PREPARED: OnceCell<Prepared> = OnceCell::const_new();

/// The site; ended with it.
pub struct Site {
    pub router: Router,
    pub database: String,
    postgres: &'static Postgres,
    ports: [SocketAddr; 2],
    copies: Mutex<[Option<Child>; 2]>,
}

impl Site {
    /// Both copies with the first release, and the router.
    pub async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    /// The same with another configuration, made from the example's.
    pub async fn start_with(change: impl FnOnce(String) -> String) -> Self {
        let site = Self::prepare(change).await;
        site.start_copy("server0").await;
        site.start_copy("server1").await;
        site.router.start_again().await;
        site
    }

    /// A place for a site, and nothing in it; with the name of a database that is not there yet.
    pub async fn empty() -> Self {
        let postgres = Postgres::shared().await;
        Self::at(postgres, free_name())
    }

    fn at(postgres: &'static Postgres, database: String) -> Self {
        let ports = [free_address(), free_address()];
        let mut setup = Setup::with_pools(&[("server0", ports[0], ""), ("server1", ports[1], "")]);
        setup.name = "station";
        Self { router: Router::prepare(setup), database, postgres, ports, copies: Mutex::new([None, None]) }
    }

    /// Both copies and the configuration in their folder, and nothing started.
    pub async fn prepare(change: impl FnOnce(String) -> String) -> Self {
        let postgres = Postgres::shared().await;
        let prepared = PREPARED.get_or_init(async || Prepared::make(postgres)).await;
        let site = Self::at(postgres, postgres.create_database(Some(&prepared.database)));
        for pool in ["server0", "server1"] {
            copy(&prepared.folder, &site.folder(pool));
            site.substitute_ports(&site.folder(pool));
        }
        let folder = site.folder("server0");
        std::fs::copy(folder.join("maintenance.html"), site.router.folder().join("maintenance.html")).unwrap();
        let config = read_to_string(folder.join("cutover.toml")).unwrap();
        let config = config.replace("path = \"/up\"", &format!("path = \"/up\"\n{PATIENT_HEALTH}"));
        site.router.write_config(&change(config));
        site
    }

    /// The example as it is in the repository, but for the ports.
    pub fn copy_example_to(&self, folder: &Path) {
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE), folder);
        self.substitute_ports(folder);
    }

    fn substitute_ports(&self, folder: &Path) {
        for file in ["gunicorn.conf.py", "cutover.toml"] {
            let path = folder.join(file);
            std::fs::write(&path, self.with_ports(&read_to_string(&path).unwrap())).unwrap();
        }
    }

    /// A text of the example's with this site's ports instead of those that readers would use.
    pub fn with_ports(&self, text: &str) -> String {
        let ours = [self.router.address(), self.router.setup.admin, self.ports[0], self.ports[1]];
        let theirs = ["8080", "9900", "9000", "9001"];
        // In two goes: the digits of one of ours may be those of another one of theirs.
        let mark = |number: usize| format!("<port {number}>");
        let numbers = 0..theirs.len();
        let marked = numbers.clone().fold(text.to_owned(), |text, at| text.replace(theirs[at], &mark(at)));
        numbers.fold(marked, |text, at| text.replace(&mark(at), &ours[at].port().to_string()))
    }

    /// Where a copy is.
    pub fn folder(&self, pool: &str) -> PathBuf {
        self.router.folder().join(pool)
    }

    /// Where a copy listens.
    pub fn address(&self, pool: &str) -> SocketAddr {
        self.ports[number(pool)]
    }

    /// A program with the environment that the site's have, in a folder.
    pub fn program(&self, program: &str, folder: &Path) -> Command {
        let mut command = program_in(program, folder, self.postgres, &self.database);
        command.env("CUTOVER_ADMIN", self.router.admin_url(""));
        command
    }

    /// Starts a copy on the site's database, and waits until it answers.
    pub async fn start_copy(&self, pool: &str) {
        self.start_copy_on(pool, &self.database).await;
    }

    /// The same on another database.
    pub async fn start_copy_on(&self, pool: &str, database: &str) {
        let folder = self.folder(pool);
        let log = File::options().create(true).append(true).open(folder.join("gunicorn.log")).unwrap();
        // In a group of its own, so that its worker processes end with it.
        let child = self
            .program("gunicorn", &folder)
            .env("PGDATABASE", database)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let previous = self.copies.lock().unwrap()[number(pool)].replace(child);
        assert!(previous.is_none(), "{pool} runs already");
        self.answers(pool).await;
    }

    /// Waits until all that a copy's workers answer is of that release.
    pub async fn runs(&self, pool: &str, release: &str) {
        const WORKERS: usize = 2;
        let mut visitor = Visitor::new(self.address(pool)).of_host("localhost");
        until("the copy runs the release", LONG, async || {
            for _ in 0..10 * WORKERS {
                if visitor.get("/up").await.json()["release"] != release {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Waits until a copy answers.
    pub async fn answers(&self, pool: &str) {
        eventually("gunicorn answers", LONG, async || {
            let mut visitor = Visitor::new(self.address(pool)).of_host("localhost");
            let answer = visitor.ask(Method::GET, "/up", &[], Bytes::new()).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Asks a copy to end when its requests have, and waits for it, as a service manager does.
    pub async fn stop_copy(&self, pool: &str) {
        let child = self.copies.lock().unwrap()[number(pool)].take();
        let mut child = child.unwrap();
        signal("TERM", &child);
        eventually("gunicorn ends when asked", LONG, async || child.try_wait().unwrap()).await;
    }

    /// Has a copy load its code anew, by HUP, and waits until all of its worker processes are new.
    pub async fn reload_copy(&self, pool: &str) {
        let old = self.workers(pool);
        signal("HUP", self.copies.lock().unwrap()[number(pool)].as_ref().unwrap());
        eventually("gunicorn has new workers", LONG, async || {
            let new = self.workers(pool);
            (new.len() == old.len() && new.iter().all(|id| !old.contains(id))).then_some(())
        })
        .await;
        self.answers(pool).await;
    }

    /// The process ids of a copy's workers.
    fn workers(&self, pool: &str) -> Vec<String> {
        let id = self.copies.lock().unwrap()[number(pool)].as_ref().unwrap().id();
        let children = read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// Brings a copy's files to a later release, one after the other; what runs goes on with the old code.
    pub fn upgrade(&self, pool: &str, releases: &[&str]) {
        let folder = self.folder(pool);
        run(self.program(folder.join("releases/bring").to_str().unwrap(), &folder).args(releases));
    }

    /// Replaces a piece of text in one of a copy's files.
    pub fn edit(&self, pool: &str, file: &str, from: &str, to: &str) {
        let path = self.folder(pool).join(file);
        let text = read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in {file}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Brings a copy to later releases, if any are named, and starts it anew, while it serves nobody.
    pub async fn release(&self, pool: &str, releases: &[&str]) {
        if !releases.is_empty() {
            self.upgrade(pool, releases);
        }
        self.stop_copy(pool).await;
        self.router.pool_health(pool, false).await;
        self.start_copy(pool).await;
        self.router.pool_health(pool, true).await;
    }

    /// Runs a command of Django's in a copy's folder.
    pub fn manage(&self, pool: &str, arguments: &[&str]) -> String {
        run(self.program("python", &self.folder(pool)).arg("manage.py").args(arguments))
    }

    /// What a statement gives, a row a line.
    pub fn sql(&self, statement: &str) -> String {
        self.postgres.sql(&self.database, statement)
    }

    /// How many readings are stored.
    pub fn readings(&self) -> u64 {
        self.sql("select count(*) from readings_reading").parse().unwrap()
    }

    /// Every reading that the logger made is stored, and none of them came twice.
    pub fn assert_all_stored_once(&self, measured: u64) {
        let counts = self.sql("select count(*), max(received) from readings_reading");
        assert_eq!(counts, format!("{measured}|1"), "readings stored, and how often one came at most");
    }

    /// All that is in the database, as text.
    pub fn dump(&self) -> String {
        // Newer versions put a random key into each dump.
        let all = run(&mut self.program("pg_dump", self.router.folder()));
        all.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n")
    }

    /// The same as [`Self::sql`] in another database.
    pub fn sql_in(&self, database: &str, statement: &str) -> String {
        self.postgres.sql(database, statement)
    }

    /// A new, empty database.
    pub fn empty_database(&self) -> String {
        self.postgres.create_database(None)
    }

    pub async fn command(&self, arguments: &[&str]) -> super::CommandResult {
        self.router.command(arguments).await
    }

    /// Somebody new.
    pub fn person(&self) -> Person {
        Person { visitor: self.router.visitor().of_host("localhost") }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for copy in self.copies.lock().unwrap().iter_mut().filter_map(Option::take) {
            end_group(copy);
        }
        // What the commands of a README have started.
        for pool in ["server0", "server1"] {
            if let Ok(id) = read_to_string(self.folder(pool).join("gunicorn.pid")) {
                let _ = Command::new("kill").args(["-TERM", id.trim()]).stderr(Stdio::null()).status();
            }
        }
        if std::thread::panicking() {
            for pool in ["server0", "server1"] {
                let log = read_to_string(self.folder(pool).join("gunicorn.log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                eprintln!("--- the last lines of {pool}'s gunicorn ---");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

impl Prepared {
    fn make(postgres: &Postgres) -> Self {
        let folder = postgres.folder().join("station");
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE), &folder);
        let database = postgres.create_database(None);
        let manage = |arguments: &[&str]| {
            let mut command = program_in("python", &folder, postgres, &database);
            command.env("DJANGO_SUPERUSER_PASSWORD", PASSWORD);
            run(command.arg("manage.py").args(arguments))
        };
        manage(&["migrate"]);
        manage(&["createsuperuser", "--noinput", "--username", USER, "--email", "ada@example.com"]);
        manage(&["collectstatic", "--noinput"]);
        Self { folder, database }
    }
}

/// A person with a browser that keeps cookies, but no scripts.
pub struct Person {
    pub visitor: Visitor,
}

impl Person {
    pub async fn home(&mut self) -> Answer {
        self.visitor.get_with("/", &[("accept", "text/html")]).await
    }

    /// Who the page says that they are.
    pub async fn appears_as(&mut self) -> Option<String> {
        let answer = self.home().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        between(&answer.text(), "<span id=\"visitor\">", "</span>")
    }

    /// Which release the page is of.
    pub async fn release(&mut self) -> String {
        let text = self.home().await.text();
        between(&text, "<span id=\"release\">", "</span>").unwrap_or_else(|| panic!("no release: {text}"))
    }

    pub async fn try_to_log_in(&mut self) -> Answer {
        self.submit("/login/", "/login/", &format!("username={USER}&password={PASSWORD}")).await
    }

    pub async fn log_in(&mut self) {
        let answer = self.try_to_log_in().await;
        assert_eq!(answer.status, 302, "{}", answer.text());
        assert_eq!(self.appears_as().await.as_deref(), Some(USER));
    }

    pub async fn write_note(&mut self, text: &str) -> Answer {
        self.submit("/", "/notes/", &format!("text={text}")).await
    }

    /// Opens a page and sends a form that is on it.
    async fn submit(&mut self, page: &str, action: &str, fields: &str) -> Answer {
        let page = self.visitor.get(page).await.text();
        let token = between(&page, "name=\"csrfmiddlewaretoken\" value=\"", "\"").expect("a form");
        let body = format!("csrfmiddlewaretoken={token}&{fields}");
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
        self.visitor.ask(Method::POST, action, &headers, Bytes::from(body)).await.unwrap()
    }
}

/// What stands between two pieces of a text.
fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0.to_owned())
}

fn number(pool: &str) -> usize {
    ["server0", "server1"].iter().position(|name| *name == pool).unwrap_or_else(|| panic!("there is no {pool}"))
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-rT").arg(from).arg(to));
}

fn program_in(program: &str, folder: &Path, postgres: &Postgres, database: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let cutover = Path::new(env!("CARGO_BIN_EXE_cutover")).parent().unwrap().display();
    let mut command = match program {
        "python" | "gunicorn" => Command::new(format!("{ENVIRONMENT}/bin/{program}")),
        other => Command::new(other),
    };
    command.env("PATH", format!("{ENVIRONMENT}/bin:{cutover}:{path}"));
    command.envs(postgres.environment()).env("PGDATABASE", database).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env_remove("CUTOVER_TOKEN").stdin(Stdio::null()).current_dir(folder);
    command
}

fn signal(signal: &str, child: &Child) {
    run(Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()));
}

/// Ends a process and what it has started.
fn end_group(mut child: Child) {
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
    let _ = child.wait();
}
