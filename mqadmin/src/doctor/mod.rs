// SPDX-License-Identifier: Apache-2.0
//! Looks at a cluster and tells what is wrong with it, each finding with the command that mends it.
//!
//! [`servers`] looks at name servers, brokers and their hosts, [`topics`] at permissions and
//! transactions, [`groups`] at subscriptions and lag.

mod groups;
mod servers;
mod topics;

use std::{
    io::{self, BufWriter},
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    admin::Admin,
    error::Error,
    out::{Form, Out, Text, line, warn},
};

/// Flags of the doctor.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name servers, separated by ';' [else: the environment's NAMESRV_ADDR]
    #[arg(short = 'n', long = "namesrvAddr", value_name = "HOST:PORT;…")]
    namesrv_addr: Option<String>,

    /// Form of what is printed
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: DoctorForm,

    /// Messages that a group may be behind before it is told of
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(0..))]
    lag: i64,
}

/// Form of what the doctor prints.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DoctorForm {
    /// For people
    Text,
    /// One JSON value
    Json,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Something works worse than it could, or will fail later.
    Warning,
    /// Something does not work.
    Error,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
struct Finding {
    severity: Severity,
    /// What it is about: a server, topic or group.
    about: String,
    /// What is wrong, and the likely cause.
    what: String,
    /// The command that mends it, or what to do.
    fix: String,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, about: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Error, about.into(), what.into(), fix.into());
    }

    fn warning(
        &mut self,
        about: impl Into<String>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Severity::Warning, about.into(), what.into(), fix.into());
    }

    fn add(&mut self, severity: Severity, about: String, what: String, fix: String) {
        self.0.push(Finding {
            severity,
            about,
            what,
            fix,
        });
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// What was looked at.
    looked_at: Vec<String>,
    findings: Vec<Finding>,
}

/// Runs the doctor: 0 nothing was found, 1 warnings only, 2 something does not work, or it cannot be
/// looked at.
pub fn run(args: &Args) -> ExitCode {
    match examine(args) {
        Ok(worst) => ExitCode::from(match worst {
            None => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Error) => 2,
        }),
        Err(error) => {
            warn(format_args!("aerobee doctor: {error}"));
            if let Some(fix) = error.fix() {
                warn(format_args!("  {fix}"));
            }
            ExitCode::from(2)
        }
    }
}

fn examine(args: &Args) -> Result<Option<Severity>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        let admin = Admin::new(args.namesrv_addr.as_deref())?;
        let report = report(&admin, args.lag).await;
        admin.close();
        report
    })?;
    let form = match args.output {
        DoctorForm::Text => Form::Text,
        DoctorForm::Json => Form::Json,
    };
    let mut out = Out::new(form, Box::new(BufWriter::new(io::stdout())));
    out.show(&report, |text| print(text, &report))?;
    out.finish()?;
    Ok(report.findings.iter().map(|finding| finding.severity).max())
}

async fn report(admin: &Admin, lag: i64) -> Result<Report, Error> {
    let mut findings = Findings::default();
    let mut looked_at = vec![format!("{} name servers", admin.namesrvs()?.len())];
    if let Some(info) = servers::namesrvs(admin, &mut findings).await? {
        let brokers = servers::brokers(admin, &info, &mut findings).await;
        looked_at.push(format!("{brokers} brokers"));
        let topics = topics::examine(admin, &mut findings).await;
        looked_at.push(format!("{topics} topics"));
        let groups = groups::examine(admin, lag, &mut findings).await;
        looked_at.push(format!("{groups} groups"));
    }
    servers::this_host(&mut findings);
    let mut findings = findings.0;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(Report {
        looked_at,
        findings,
    })
}

fn print(text: &mut Text, report: &Report) {
    line!(text, "Looked at {}.", report.looked_at.join(", "));
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
        };
        line!(text, "\n{severity}  {}: {}", finding.about, finding.what);
        line!(text, "  fix: {}", finding.fix);
    }
    if report.findings.is_empty() {
        line!(text, "\nNothing is wrong that can be seen from here.");
    }
}
