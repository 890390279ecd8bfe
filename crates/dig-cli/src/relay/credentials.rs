//! Who may use the TURN server.

use crate::exit::{Failure, Kind};
use dig::{
    Home,
    nat::turn::server::{User, time_limited_password},
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs, io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long a credential made of the secret is good that is printed at the start. Long enough to try it out.
const PRINTED: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a password that was made up.
const PASSWORD: usize = 20;

/// A user and a password, as the command line has them.
#[derive(Clone)]
pub(crate) struct NamedUser {
    name: String,
    password: String,
}

impl std::fmt::Debug for NamedUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedUser")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl std::str::FromStr for NamedUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, password)) if !name.is_empty() && !password.is_empty() => Ok(Self {
                name: name.to_owned(),
                password: password.to_owned(),
            }),
            _ => Err("expected USER:PASSWORD".to_owned()),
        }
    }
}

/// The credentials that are accepted, and what clients are told to use.
#[derive(Debug)]
pub(crate) struct Credentials {
    users: Vec<NamedUser>,
    secret: Option<String>,
}

impl Credentials {
    /// Those that were named, or else one of this home, the same at every start: so a restart spoils nobody's options.
    pub(crate) fn new(
        home: &Home,
        users: &[NamedUser],
        secret: Option<&String>,
    ) -> Result<Self, Failure> {
        let mut users = users.to_vec();
        if users.is_empty() && secret.is_none() {
            let failed = |error: io::Error| {
                let file = home.dir().join(FILE);
                Failure::new(Kind::Local, format!("{}: {error}", file.display()))
                    .hint("choose another home with --home, or name a user with --turn-user")
            };
            users.push(of_home(home.dir()).map_err(failed)?);
        }
        Ok(Self {
            users,
            secret: secret.cloned(),
        })
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = User> + '_ {
        let users = self.users.iter();
        users.map(|user| User::new(&*user.name, &*user.password))
    }

    pub(crate) const fn secret(&self) -> Option<&String> {
        self.secret.as_ref()
    }

    /// User and password, as a `turn:` URI has them: of the first user, or else made of the secret and good for a day.
    pub(crate) fn for_clients(&self) -> String {
        if let Some(user) = self.users.first() {
            return format!("{}:{}", encode(&user.name), encode(&user.password));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let expiry = since.unwrap_or_default() + PRINTED;
        let name = format!("{}:dignet", expiry.as_secs());
        let secret = self.secret.as_deref().unwrap_or_default();
        let password = time_limited_password(secret, &name);
        format!("{}:{}", encode(&name), encode(&password))
    }
}

/// Percent-encoding (RFC 3986 §2.1) of all but unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            // Writing to a string does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

/// Where a home keeps its credential.
const FILE: &str = "turn.json";

/// The credential of a home; made up where there is none.
fn of_home(dir: &Path) -> io::Result<NamedUser> {
    let file = dir.join(FILE);
    match fs::read(&file) {
        Ok(text) => read(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let user = NamedUser {
                name: "dignet".to_owned(),
                password: make_up()?,
            };
            fs::create_dir_all(dir)?;
            let text = json!({"user": user.name, "password": user.password}).to_string();
            write_private(&file, text.as_bytes())?;
            Ok(user)
        }
        Err(error) => Err(error),
    }
}

fn read(text: &[u8]) -> io::Result<NamedUser> {
    let value: Value = serde_json::from_slice(text)?;
    match (value["user"].as_str(), value["password"].as_str()) {
        (Some(name), Some(password)) if !name.is_empty() && !password.is_empty() => Ok(NamedUser {
            name: name.to_owned(),
            password: password.to_owned(),
        }),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "there is no user and password in it",
        )),
    }
}

/// Writes it beside, readable by its owner only, and renames it: a reader finds all of it or nothing.
fn write_private(file: &Path, text: &[u8]) -> io::Result<()> {
    let beside = file.with_extension(format!("tmp-{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(&beside)?, text)?;
    fs::rename(&beside, file)
}

fn make_up() -> io::Result<String> {
    let mut bytes = [0; PASSWORD];
    dig::nat::turn::serve::fill_random(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_keeps_its_credential() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("home"));
        let first = Credentials::new(&home, &[], None).unwrap().for_clients();
        assert!(first.starts_with("dignet:") && first.len() == 7 + 2 * PASSWORD);
        let again = Credentials::new(&home, &[], None).unwrap().for_clients();
        assert_eq!(first, again);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(home.dir().join(FILE))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(home.dir().join(FILE), b"{}").unwrap();
        let failure = Credentials::new(&home, &[], None).unwrap_err();
        assert_eq!(
            failure.kind,
            Kind::Local,
            "a damaged file is not replaced in silence"
        );
    }

    #[test]
    fn named_users_go_before_the_home() {
        let home = Home::new("/nowhere");
        let users = ["alice:won:der/land".parse().unwrap()];
        let credentials = Credentials::new(&home, &users, None).unwrap();
        assert_eq!(credentials.for_clients(), "alice:won%3Ader%2Fland");
        let secret = "north".to_owned();
        let credentials = Credentials::new(&home, &[], Some(&secret)).unwrap();
        let text = credentials.for_clients();
        assert!(text.contains("%3Adignet:"), "{text}");
        for wrong in ["", "alice", "alice:", ":x"] {
            assert!(wrong.parse::<NamedUser>().is_err(), "{wrong:?}");
        }
    }
}
