//! Readers of the feed: how soon they are told, what they cost, how fast they catch up.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Options;
use crate::client::{self, Connection};
use crate::figure::{CONNECTIONS, DURABLE, RELAXED, column, now, start_server};
use crate::report;

/// The feed of the one project.
const EVENTS_OF: &str = "/api/events?projectId=default";

/// Events that are told to all readers in a round, one after the other.
const EVENTS: usize = 20;

/// Many readers, few events: from the call that makes something happen until each has been told.
pub(crate) fn told(name: &str, readers: u64, options: &Options) -> io::Result<()> {
    let [mut median, mut late, mut resident] = [const { Vec::new() }; 3];
    for _ in 0..options.rounds {
        let server = start_server(DURABLE, options)?;
        let mut caller = Connection::open(&server.address)?;
        caller.create(1)?;
        let before = server.process.memory()?;
        let opened = (0..readers).map(|_| Reader::open(&server.address, EVENTS_OF, "id: "));
        let mut opened = opened.collect::<io::Result<Vec<_>>>()?;
        let grown = server.process.memory()?.saturating_sub(before);
        resident.push(grown as f64 / 1024.0 / readers as f64);
        let mut delays = Vec::new();
        for _ in 0..EVENTS {
            let called = now();
            caller.create(1)?;
            for reader in &mut opened {
                reader.next()?;
                delays.push(called.elapsed());
            }
        }
        delays.sort();
        let place = |share: f64| delays.get((delays.len() as f64 * share) as usize);
        let millis = |delay: Option<&Duration>| delay.map_or(0.0, |d| d.as_secs_f64() * 1e3);
        median.push(millis(place(0.5)));
        late.push(millis(place(0.99)));
    }
    let columns = [
        column("ms median", 1, median),
        column("ms for 99 %", 1, late),
        column("KiB resident per reader", 1, resident),
    ];
    report::print(name, DURABLE, &columns);
    Ok(())
}

/// One reader that comes late: all events from the first one on.
pub(crate) fn replayed(name: &str, events: u64, options: &Options) -> io::Result<()> {
    let [mut rate, mut peak] = [const { Vec::new() }; 2];
    for _ in 0..options.rounds {
        let server = start_server(RELAXED, options)?;
        let makers = (0..CONNECTIONS).map(|at| {
            let address = &server.address;
            move || {
                let mut connection = Connection::open(address)?;
                let share = (events + CONNECTIONS - 1 - at) / CONNECTIONS;
                (0..share).try_for_each(|_| connection.create(1).map(drop))
            }
        });
        client::together(makers)?;
        let target = format!("{EVENTS_OF}&after=0");
        let mut reader = Reader::open(&server.address, &target, "id: ")?;
        let begun = now();
        for place in 1..=events {
            let event = reader.next()?;
            if !event.contains(&format!("\"sequence\":\"{place}\"")) {
                return Err(io::Error::other(format!("event {place} is missing")));
            }
        }
        rate.push(events as f64 / begun.elapsed().as_secs_f64());
        peak.push(server.process.memory_peak()? as f64 / report::MIB);
    }
    let columns = [column("events/s", 0, rate), column("MiB peak", 1, peak)];
    report::print(name, RELAXED, &columns);
    Ok(())
}

/// Reads server-sent events.
pub(crate) struct Reader {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Reader {
    /// Asks for `target`, and reads up to a line that begins with `first`.
    pub(crate) fn open(address: &str, target: &str, first: &str) -> io::Result<Self> {
        let mut stream = client::connect(address)?;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        let mut reader = Self {
            // As small as an event, so that a thousand of them are no matter.
            stream: BufReader::with_capacity(2048, stream),
            line: String::new(),
        };
        reader.until(first)?;
        Ok(reader)
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> io::Result<&str> {
        self.until("data: ")?;
        Ok(&self.line)
    }

    /// Reads up to a line that begins like this. The lines of chunks are among the others.
    fn until(&mut self, start: &str) -> io::Result<()> {
        loop {
            self.line.clear();
            if self.stream.read_line(&mut self.line)? == 0 {
                return Err(io::Error::other("the feed has ended"));
            }
            if self.line.starts_with(start) {
                return Ok(());
            }
        }
    }
}
