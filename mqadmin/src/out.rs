// SPDX-License-Identifier: Apache-2.0
//! What commands print: text as Apache's tools lay it out, or JSON.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
    time::Duration,
};

use serde::Serialize;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Form {
    /// As Apache's mqadmin prints it
    #[default]
    Text,
    /// One JSON value
    Json,
}

/// Takes what a command prints.
pub(crate) struct Out {
    form: Form,
    to: Box<dyn Write>,
    /// What a command that changes something has done, for JSON.
    done: Vec<String>,
    shown: bool,
}

/// Text under construction.
#[derive(Debug, Default)]
pub(crate) struct Text(pub(crate) String);

impl Text {
    /// Adds a line.
    pub(crate) fn line(&mut self, args: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(args);
        self.0.push('\n');
    }
}

/// Adds a line to a [`Text`].
macro_rules! line {
    ($text:expr) => { $text.line(format_args!("")) };
    ($text:expr, $form:literal $($args:tt)*) => {
        $text.line(format_args!($form $($args)*))
    };
}
pub(crate) use line;

/// Tells that something was done: a line of text, or one of the messages of the JSON value.
macro_rules! done {
    ($out:expr, $($args:tt)*) => { $out.done(format!($($args)*))? };
}
pub(crate) use done;

impl Out {
    pub(crate) fn new(form: Form, to: Box<dyn Write>) -> Self {
        Self {
            form,
            to,
            done: Vec::new(),
            shown: false,
        }
    }

    /// Prints `data`: as JSON, or as the text that `lay_out` makes of it.
    pub(crate) fn show<T: Serialize + ?Sized>(
        &mut self,
        data: &T,
        lay_out: impl FnOnce(&mut Text),
    ) -> io::Result<()> {
        self.shown = true;
        match self.form {
            Form::Json => {
                serde_json::to_writer_pretty(&mut self.to, data)?;
                writeln!(self.to)
            }
            Form::Text => {
                let mut text = Text::default();
                lay_out(&mut text);
                self.to.write_all(text.0.as_bytes())
            }
        }
    }

    /// Tells that something was done.
    pub(crate) fn done(&mut self, message: String) -> io::Result<()> {
        match self.form {
            Form::Json => self.done.push(message),
            Form::Text => writeln!(self.to, "{message}")?,
        }
        Ok(())
    }

    /// Text that has no place in JSON: headings and separators.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        match self.form {
            Form::Json => Ok(()),
            Form::Text => self.to.write_all(text.as_bytes()),
        }
    }

    /// Writes out what is still held.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Writes out what is still held, and waits before the next round.
    pub(crate) async fn pause(&mut self, seconds: u64) -> io::Result<()> {
        self.flush()?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(())
    }

    /// Ends the output of a command.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        #[derive(Serialize)]
        struct Done<'a> {
            done: &'a [String],
        }
        if self.form == Form::Json && !(self.shown && self.done.is_empty()) {
            serde_json::to_writer_pretty(&mut self.to, &Done { done: &self.done })?;
            writeln!(self.to)?;
        }
        self.done.clear();
        self.shown = false;
        self.to.flush()
    }
}

/// Tells of a failure that does not end the command.
pub(crate) fn warn(args: fmt::Arguments<'_>) {
    // If even stderr is gone, the exit code still tells.
    let _ = writeln!(io::stderr(), "{args}");
}
