//! The process that holds a laboratory, and that no laboratory survives.
//!
//! Invariants:
//!
//! - Every namespace of a laboratory is reachable only from the holder's private mount namespace, and every process of it lives
//!   in the holder's process namespace, whose first process is a shell that reads from a pipe of ours.
//! - The end of that pipe, for whatever reason (drop, panic, SIGKILL), ends the shell; the kernel then kills every other process
//!   of that namespace, and with the last of them the network namespaces and interfaces vanish.
//! - Nothing is ever written to the machine: names of namespaces and files of daemons live in a tmpfs of the same mount namespace.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What the shell does first. It learns its number from the machine's `/proc` before it mounts its own.
const PREPARE: &str = "read -r pid rest < /proc/self/stat
mount -t proc proc /proc && mount -t tmpfs lab /run && mkdir /run/netns || exit 1
";

/// A shell in namespaces of its own.
#[derive(Debug)]
pub(crate) struct Holder {
    shell: Mutex<Shell>,
    /// The number of the shell, as the machine counts.
    pid: u32,
    processes: Arc<File>,
}

#[derive(Debug)]
struct Shell {
    unshare: Option<Child>,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    serial: u64,
}

impl Holder {
    /// Starts the shell; it is the only process in its namespaces and the network it stands in has no way out.
    pub(crate) fn start() -> Result<Self, HolderError> {
        let mut unshare = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C at a terminal is for the program that owns the laboratory.
            .process_group(0)
            .spawn()
            .map_err(HolderError::Start)?;
        let (Some(stdin), Some(stdout)) = (unshare.stdin.take(), unshare.stdout.take()) else {
            return Err(HolderError::Ended);
        };
        let mut shell = Shell {
            unshare: Some(unshare),
            stdin: Some(stdin),
            stdout: BufReader::new(stdout),
            serial: 0,
        };
        shell.send(&format!("{PREPARE}echo \"$pid\"\n"))?;
        let pid = shell
            .line()?
            .trim()
            .parse()
            .map_err(|_| HolderError::Ended)?;
        let processes = File::open(format!("/proc/{pid}/ns/pid")).map_err(HolderError::Start)?;
        Ok(Self {
            shell: Mutex::new(shell),
            pid,
            processes: Arc::new(processes),
        })
    }

    /// Where this process finds a network namespace of that name.
    pub(crate) fn namespace(&self, name: &str) -> PathBuf {
        format!("/proc/{}/root/run/netns/{name}", self.pid).into()
    }

    /// The process namespace.
    pub(crate) fn processes(&self) -> Arc<File> {
        Arc::clone(&self.processes)
    }

    /// Runs a script that stops at the first failing command, and returns what it wrote (both streams).
    ///
    /// The script may take a minute at most. Its standard input is itself: what it leaves running has to read from elsewhere.
    pub(crate) fn run(&self, script: &str) -> Result<String, HolderError> {
        let mut shell = self.shell();
        shell.serial += 1;
        let mark = format!("dig-lab-done-{}", shell.serial);
        shell.send(&format!(
            "timeout 60 sh -e 2>&1 <<'{mark}'\n{script}\n{mark}\ns=$?; printf '\\n%s %s\\n' {mark} $s\n"
        ))?;
        let mut output = String::new();
        loop {
            let line = shell.line()?;
            if let Some(status) = line.strip_prefix(&mark) {
                let output = output.trim_end().to_owned();
                return match status.trim() {
                    "0" => Ok(output),
                    status => Err(HolderError::Script {
                        status: status.to_owned(),
                        output,
                        script: script.to_owned(),
                    }),
                };
            }
            output.push_str(&line);
        }
    }

    /// Ends every process of the laboratory.
    ///
    /// The kernel ends the shell only when every process that was started by [`Machine::spawn`](crate::Machine::spawn) has been
    /// waited for, and that is for whoever holds the child: this waits a moment and leaves the rest to a thread.
    pub(crate) fn end(&self) {
        let mut shell = self.shell();
        if shell.stdin.take().is_none() {
            return;
        }
        let Some(mut unshare) = shell.unshare.take() else {
            return;
        };
        let end = Instant::now() + Duration::from_millis(200);
        while Instant::now() < end {
            if !matches!(unshare.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        // Without a thread it stays a zombie until this process ends; nothing else depends on it.
        let _ = thread::Builder::new()
            .name("lab end".to_owned())
            .spawn(move || unshare.wait());
    }

    fn shell(&self) -> MutexGuard<'_, Shell> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shell {
    fn send(&mut self, text: &str) -> Result<(), HolderError> {
        let stdin = self.stdin.as_mut().ok_or(HolderError::Ended)?;
        stdin
            .write_all(text.as_bytes())
            .map_err(|_| HolderError::Ended)
    }

    fn line(&mut self) -> Result<String, HolderError> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(0) | Err(_) => Err(HolderError::Ended),
            Ok(_) => Ok(line),
        }
    }
}

/// Why the holder did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// It could not be started.
    #[error(
        "cannot start the process that holds the laboratory (root and util-linux are needed): {0}"
    )]
    Start(std::io::Error),
    /// It has ended: the laboratory was dropped, or namespaces are not allowed here.
    #[error("the laboratory has ended; where namespaces are not allowed it never began")]
    Ended,
    /// A script failed.
    #[error("a set-up script of the laboratory ended with status {status}: {output}\n{script}")]
    Script {
        /// The exit status; 124 is a minute gone by.
        status: String,
        /// What it wrote.
        output: String,
        /// What it was.
        script: String,
    },
}
