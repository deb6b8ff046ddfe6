//! A PostgreSQL server for all tests of this program, on a Unix socket only, in a folder of its own.

use super::{LONG, eventually};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Runs the server until standard input ends, which it does with the test program, however that ends.
const UNTIL_INPUT_ENDS: &str = r#"
folder=$1; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
cat >/dev/null
kill -QUIT $!
wait $!
rm -rf "$folder"
"#;

static SERVER: OnceCell<Postgres> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server.
pub struct Postgres {
    folder: PathBuf,
    /// Its standard input is what keeps the server; nobody writes to it.
    _keeper: Child,
}

impl Postgres {
    /// The one server, started by whoever asks first.
    pub async fn shared() -> &'static Self {
        SERVER.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        // Not ended with a value of this program, but by the keeper: statics are never dropped.
        let folder = TempDir::with_prefix("cutover-postgres-").unwrap().keep();
        let data = folder.join("data");
        let programs = programs();
        let owner = owner(&folder);
        let mut initdb = Command::new(&owner[0]);
        initdb.args(&owner[1..]).arg(programs.join("initdb")).arg("-D").arg(&data);
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8"]);
        run(initdb.current_dir(&folder));

        let mut keeper = Command::new("sh");
        keeper.args(["-c", UNTIL_INPUT_ENDS, "sh"]).arg(&folder).args(&owner);
        keeper.arg(programs.join("postgres")).arg("-D").arg(&data).arg("-k").arg(&folder);
        for setting in ["listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=200"] {
            keeper.args(["-c", setting]);
        }
        let keeper = keeper.current_dir(&folder).stdin(Stdio::piped()).spawn().unwrap();
        let server = Self { folder, _keeper: keeper };
        eventually("PostgreSQL is ready", LONG, async || {
            let asked = server.psql("postgres", "select 1").output().unwrap();
            asked.status.success().then_some(())
        })
        .await;
        server
    }

    /// What programs of PostgreSQL's, and Django, read from their environment to find it.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("PGHOST", self.folder.display().to_string()), ("PGUSER", "postgres".to_owned())]
    }

    /// A folder that goes when the server does.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new database, empty or with all that another one has.
    pub fn create_database(&self, like: Option<&str>) -> String {
        let name = free_name();
        let like = like.map(|like| format!(" template {like}")).unwrap_or_default();
        self.sql("postgres", &format!("create database {name}{like}"));
        name
    }

    /// What a statement gives, a row a line.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        run(&mut self.psql(database, statement)).trim().to_owned()
    }

    fn psql(&self, database: &str, statement: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement]);
        psql.envs(self.environment()).stdin(Stdio::null());
        psql
    }
}

/// A name that no database has.
pub fn free_name() -> String {
    format!("site{}", DATABASES.fetch_add(1, Ordering::Relaxed))
}

/// Runs a program to its end and gives what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; `tests/run` installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Where Debian keeps what belongs to a version of PostgreSQL's server; the newest.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed; `tests/run` installs it");
    let versions = versions.filter_map(|version| version.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().expect("a version of PostgreSQL");
    Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin")
}

/// The server refuses to run as root: what is put in front of its programs then, with the folder made theirs.
fn owner(folder: &Path) -> Vec<String> {
    let user = run(Command::new("id").arg("-u"));
    if user.trim() != "0" {
        return vec!["env".to_owned()];
    }
    run(Command::new("chown").arg("postgres:postgres").arg(folder));
    // Others have to reach the socket in it.
    run(Command::new("chmod").arg("755").arg(folder));
    ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"].map(str::to_owned).to_vec()
}
