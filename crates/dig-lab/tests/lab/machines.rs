//! Programs and closures on machines.

use dig_lab::{Lab, LabError, MachineError, SiteKind};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

fn namespace_of(process: u32) -> std::path::PathBuf {
    fs::read_link(format!("/proc/{process}/ns/net")).unwrap()
}

#[test]
fn children_are_the_programs_themselves() {
    let Some(lab) = Lab::for_test() else { return };
    let host = lab.site(SiteKind::Open, "open").unwrap().host(0).unwrap();
    let own = host
        .enter(|| fs::read_link("/proc/thread-self/ns/net").unwrap())
        .unwrap();
    assert_ne!(namespace_of(std::process::id()), own);

    let mut spawned = host.spawn(Command::new("sleep").arg("100")).unwrap();
    let mut command = host
        .command("sleep")
        .arg("100")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    for child in [&mut spawned, &mut command] {
        // `nsenter` becomes the program a moment later.
        let name = format!("/proc/{}/comm", child.id());
        while fs::read_to_string(&name).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        assert_eq!(namespace_of(child.id()), own);
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(
            child.wait().unwrap().signal(),
            Some(2),
            "the signal reached another process"
        );
    }
}

#[test]
fn programs_see_the_machine_and_report_their_failures() {
    let Some(lab) = Lab::for_test() else { return };
    let site = lab.site(SiteKind::DualStack, "dual").unwrap();
    let (host, server) = (site.host(0).unwrap(), lab.server(0).unwrap());
    let said = host.run("ip", &["-o", "addr"]).unwrap();
    for address in host.addresses() {
        assert!(said.contains(&format!("{address}/")), "{said}");
    }
    for address in server.addresses() {
        let said = host
            .run("ip", &["route", "get", &address.to_string()])
            .unwrap();
        assert!(said.contains("via"), "{said}");
    }
    let failed = host.run("sh", &["-c", "echo why >&2; exit 3"]);
    let Err(MachineError::Failed { status, output, .. }) = failed else {
        panic!("{failed:?}")
    };
    assert_eq!(
        (status.as_str(), output.as_str()),
        ("exit status: 3", "why\n")
    );
    assert!(matches!(
        host.run::<&str>("no-such-program", &[]),
        Err(MachineError::Enter { .. })
    ));
    let full = lab.site(SiteKind::Open, "open").unwrap().host(100);
    assert!(matches!(full, Err(LabError::TooMany)));
}

#[test]
fn threads_begun_inside_stay_inside() {
    let Some(lab) = Lab::for_test() else { return };
    let server = lab.server(0).unwrap();
    let at = server.at(7001).unwrap();
    let bound = server.enter(|| {
        std::thread::spawn(move || std::net::UdpSocket::bind(at).is_ok())
            .join()
            .unwrap()
    });
    assert!(bound.unwrap());
    assert!(
        std::net::UdpSocket::bind(at).is_err(),
        "this machine has the address itself"
    );
}
