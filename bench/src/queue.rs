//! The processing queue: how many items go through it, and how soon a cancel reaches a worker.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crate::Options;
use crate::client::{self, Connection};
use crate::feed::Reader;
use crate::figure::{CONNECTIONS, DURABLE, RELAXED, column, now, start_server};
use crate::process::Running;
use crate::report;

/// Workers that drain the queue, each on a connection of its own.
const WORKERS: u64 = 16;

/// Items that a worker claims at once.
const CLAIMED: usize = 100;

const SESSION: &str = "00000000-0000-4000-8000-000000000000";

const RESULT: &str = r#"{"polygons":[],"imageSize":{"width":1,"height":1}}"#;

/// Items that are nothing to do: enqueued by one call, drained by some workers; and as many again that
/// are enqueued by one call and cancelled by another.
pub(crate) fn drained(name: &str, items: u64, options: &Options) -> io::Result<()> {
    for flags in [RELAXED, DURABLE] {
        let [mut rate, mut enqueued, mut cancelled] = [const { Vec::new() }; 3];
        for _ in 0..options.rounds {
            let server = start_server(flags, options)?;
            let images = images(&server, items)?;
            let mut user = Connection::open(&server.address)?;
            let begun = now();
            enqueue(&mut user, &images)?;
            enqueued.push(begun.elapsed().as_secs_f64() * 1e3);
            let begun = now();
            let share = items / WORKERS;
            client::together((0..WORKERS).map(|at| {
                let address = &server.address;
                let share = if at == 0 {
                    items - share * (WORKERS - 1)
                } else {
                    share
                };
                move || drain(address, at, share)
            }))?;
            rate.push(items as f64 / begun.elapsed().as_secs_f64());
            // The one before may have been idle for too long.
            let mut user = Connection::open(&server.address)?;
            let batch = enqueue(&mut user, &images)?;
            let begun = now();
            let path = format!("/api/queue/batches/{batch}/cancel");
            let answer = user.call("POST", &path, "{}")?;
            cancelled.push(begun.elapsed().as_secs_f64() * 1e3);
            if !answer.contains(&format!("\"cancelled\":{items},")) {
                return Err(io::Error::other("not all of them are cancelled"));
            }
        }
        let columns = [
            column("items/s", 0, rate),
            column("ms to enqueue them", 0, enqueued),
            column("ms to cancel them", 0, cancelled),
        ];
        report::print(name, flags, &columns);
    }
    Ok(())
}

/// Items that a worker has, cancelled one after the other: from the call until the worker has been
/// told, and until the call is answered.
pub(crate) fn told(name: &str, items: u64, options: &Options) -> io::Result<()> {
    let [mut told, mut late, mut answered] = [const { Vec::new() }; 3];
    for _ in 0..options.rounds {
        let server = start_server(DURABLE, options)?;
        let images = images(&server, items)?;
        let mut user = Connection::open(&server.address)?;
        enqueue(&mut user, &images)?;
        let heard = listen(&server.address)?;
        let mut worker = Connection::open(&server.address)?;
        let [mut delays, mut answers] = [const { Vec::new() }; 2];
        while (delays.len() as u64) < items {
            for (item, fence) in claim(&mut worker, 0, delays.len())? {
                let called = now();
                user.call("POST", &format!("/api/queue/items/{item}/cancel"), "{}")?;
                answers.push(called.elapsed());
                let (text, at) = heard.recv().map_err(io::Error::other)?;
                if !text.contains(&item) {
                    return Err(io::Error::other("the worker is told of another item"));
                }
                delays.push(at.duration_since(called));
                finish(&mut worker, &item, fence, "\"cancelled\"")?;
            }
        }
        told.push(report::place(&mut delays, 0.5));
        late.push(report::place(&mut delays, 0.99));
        answered.push(report::place(&mut answers, 0.99));
    }
    let columns = [
        column("ms until told, median", 2, told),
        column("ms for 99 %", 2, late),
        column("ms until answered, for 99 %", 2, answered),
    ];
    report::print(name, DURABLE, &columns);
    Ok(())
}

/// Uploads without a byte are complete when they are created.
fn images(server: &Running, count: u64) -> io::Result<Vec<String>> {
    let (sender, made) = mpsc::channel();
    client::together((0..CONNECTIONS).map(|at| {
        let (address, sender) = (&server.address, sender.clone());
        move || {
            let mut connection = Connection::open(address)?;
            let share = (count + CONNECTIONS - 1 - at) / CONNECTIONS;
            (0..share).try_for_each(|_| {
                let path = connection.create(0)?;
                let id = path.trim_start_matches("/files/").to_owned();
                sender.send(id).map_err(io::Error::other)
            })
        }
    }))?;
    drop(sender);
    Ok(made.into_iter().collect())
}

/// Enqueues images and returns the batch.
fn enqueue(user: &mut Connection, images: &[String]) -> io::Result<String> {
    let images = images.join("\",\"");
    let body = format!(
        "{{\"projectId\":\"default\",\"forceResegment\":true,\"imageIds\":[\"{images}\"]}}"
    );
    let answer = user.call("POST", "/api/queue/batch", &body)?;
    report::values(&answer, "batchId")
        .next()
        .ok_or_else(|| io::Error::other("no batch"))
}

/// Works on nothing until so many items are done.
fn drain(address: &str, worker: u64, share: u64) -> io::Result<()> {
    let mut connection = Connection::open(address)?;
    let mut done = 0;
    while done < share {
        let items = claim(&mut connection, worker, done as usize)?;
        for (item, fence) in &items {
            finish(
                &mut connection,
                item,
                *fence,
                &format!("\"completed\",\"result\":{RESULT}"),
            )?;
        }
        // Others may have taken this one's share.
        if items.is_empty() {
            return Ok(());
        }
        done += items.len() as u64;
    }
    Ok(())
}

/// Items and their fences.
fn claim(
    connection: &mut Connection,
    worker: u64,
    number: usize,
) -> io::Result<Vec<(String, u64)>> {
    let body = format!(
        "{{\"worker\":\"w{worker}\",\"session\":\"{SESSION}\",\
         \"claimId\":\"00000000-{worker:04}-4000-8000-{number:012}\",\
         \"models\":[\"otsu\"],\"max\":{CLAIMED},\"waitMs\":0}}"
    );
    let answer = connection.call("POST", "/api/worker/claim", &body)?;
    // An item is one object, and its image another within it, which has an id as well.
    let items = answer.split("{\"attempt\":").skip(1);
    let items = items.map(|item| {
        let fence = item.split("\"fence\":").nth(1)?;
        let fence = fence.split(',').next()?.parse().ok()?;
        Some((report::values(item, "id").next()?, fence))
    });
    let items: Option<_> = items.collect();
    items.ok_or_else(|| io::Error::other(answer))
}

fn finish(
    connection: &mut Connection,
    item: &str,
    fence: u64,
    outcome: &str,
) -> io::Result<String> {
    let body = format!("{{\"fence\":{fence},\"outcome\":{outcome}}}");
    connection.call("POST", &format!("/api/worker/items/{item}/finish"), &body)
}

/// The cancels of which the first worker is told, and when.
fn listen(address: &str) -> io::Result<mpsc::Receiver<(String, Instant)>> {
    let target = format!("/api/worker/w0/control?session={SESSION}");
    let mut control = Reader::open(address, &target, "data: ")?;
    let (sender, heard) = mpsc::channel();
    thread::spawn(move || {
        // It ends with the server.
        while let Ok(data) = control.next() {
            if data.contains("\"fence\"") && sender.send((data.to_owned(), now())).is_err() {
                return;
            }
        }
    });
    Ok(heard)
}
