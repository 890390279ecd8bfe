//! `dignet doctor`.

use crate::{
    args::{DoctorArgs, Global},
    exit::Failure,
    node,
    output::Output,
};
use dig::ExamineOptions;
use serde_json::json;

pub(crate) async fn run(global: &Global, args: DoctorArgs, output: &Output) -> Result<(), Failure> {
    let mut options = ExamineOptions::default();
    options.stun = node::stun_servers(global, &args.stun);
    options.port_mapping = !args.no_upnp;
    options.lifetime = args.lifetime;
    output.say(if args.lifetime {
        "Looking at the network; this takes some minutes ..."
    } else {
        "Looking at the network ..."
    });
    let report = dig::examine(options).await?;
    let (lines, remedy) = (report.explain(), report.remedy());
    output.event(
        "report",
        json!({"report": report, "explanation": lines, "remedy": remedy}),
    );
    for line in &lines {
        output.result(line);
    }
    if let Some(remedy) = &remedy {
        output.result(&format!("What would help: {remedy}"));
    }
    Ok(())
}
