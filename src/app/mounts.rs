//! The modules, each with what it needs of the others.

use std::sync::Arc;

use super::cancels::Cancels;
use super::contents::Everything;
use super::exported::Exported;
use super::images::Uploaded;
use super::{AppError, Opened};
use crate::auth::Authenticator;
use crate::config::{Config, Digest};
use crate::http::StallLimits;
use crate::http::telemetry::Metrics;
use crate::module::Mount;
use crate::webhook::Endpoints;
use crate::{export, feed, ops, page, project, queue, upload, webhook};

/// Mounts all of them.
///
/// # Errors
/// A webhook cannot be signed for, or TLS cannot be used.
pub(super) fn all(
    config: &Config,
    opened: &Opened,
    auth: Authenticator,
    mut metrics: Metrics,
    tails_are_good: bool,
) -> Result<(Vec<Mount>, Arc<Metrics>), AppError> {
    let upload_metrics = upload::Metrics::register(&mut metrics.registry);
    let webhooks = webhook::Deps {
        hub: opened.hub.clone(),
        access: opened.access.clone(),
        endpoints: Endpoints::load(config.webhooks.clone())?,
        scope: opened.scope.child("webhooks"),
        metrics: webhook::Metrics::register(&mut metrics.registry),
    };
    let queue_metrics = match config.modules.queue {
        true => queue::Metrics::register(&mut metrics.registry),
        false => queue::Metrics::unread(),
    };
    let export_metrics = match config.modules.export {
        true => export::Metrics::register(&mut metrics.registry),
        false => export::Metrics::unread(),
    };
    let metrics = Arc::new(metrics);
    let deps = upload::Deps {
        store: opened.uploads.clone(),
        blobs: opened.blobs.clone(),
        // Below the server's scope, beside the connections: an attempt does not end with its own.
        scope: opened.scope.child("uploads"),
        metrics: upload_metrics,
        operations: opened.hub.operations().clone(),
        access: opened.access.clone(),
        auth: auth.clone(),
        tails_are_good,
    };
    let (mounted, uploads) = upload::mount(deps, upload_config(config));
    let (queue_mount, queue) = queue::mount(
        queue_deps(config, opened, &auth, queue_metrics),
        queue_config(config),
    );
    let (export_mount, exports) = export::mount(
        export_deps(opened, &auth, export_metrics),
        export_config(config),
    );
    let contents = Everything {
        uploads: uploads.clone(),
        queue: queue.clone(),
        exports: exports.clone(),
    };
    let cancels = Cancels {
        uploads,
        queue: config.modules.queue.then_some(queue),
        exports: config.modules.export.then_some(exports),
    };
    let mut mounts = vec![
        mounted,
        projects(config, opened, contents),
        feed::mount(feeds(config, opened, cancels, auth)),
        webhook::mount(webhooks)?,
        page::mount(),
        ops::mount(ops::Deps {
            metrics: metrics.clone(),
            probes: opened.probes(),
        }),
    ];
    if config.modules.queue {
        mounts.push(queue_mount);
    }
    if config.modules.export {
        mounts.push(export_mount);
    }
    Ok((mounts, metrics))
}

fn queue_deps(
    config: &Config,
    opened: &Opened,
    auth: &Authenticator,
    metrics: queue::Metrics,
) -> queue::Deps {
    queue::Deps {
        db: opened.db.clone(),
        hub: opened.hub.clone(),
        images: Arc::new(Uploaded),
        auth: auth.clone(),
        origin: config.origin.clone(),
        metrics,
        scope: opened.scope.child("queue"),
    }
}

fn queue_config(config: &Config) -> queue::Config {
    let limits = config.queue.clone();
    queue::Config {
        models: limits.models,
        lease: limits.lease,
        grace: limits.grace,
        result_bytes_max: limits.result_bytes_max,
        items_max: limits.items_max,
        keep: limits.keep,
        shutdown_grace: config.shutdown_grace,
    }
}

fn export_deps(opened: &Opened, auth: &Authenticator, metrics: export::Metrics) -> export::Deps {
    export::Deps {
        db: opened.db.clone(),
        hub: opened.hub.clone(),
        source: Arc::new(Exported {
            blobs: opened.blobs.clone(),
        }),
        archives: opened.archives.clone(),
        spools: opened.archives_dir.clone(),
        auth: auth.clone(),
        metrics,
        scope: opened.scope.child("exports"),
    }
}

fn export_config(config: &Config) -> export::Config {
    let limits = config.exports;
    export::Config {
        archive_keep: limits.archive_keep,
        keep: limits.keep,
        running_max: limits.running_max,
        images_max: limits.images_max,
    }
}

fn projects(config: &Config, opened: &Opened, contents: Everything) -> Mount {
    let deps = project::Deps {
        db: opened.db.clone(),
        hub: opened.hub.clone(),
        changes: opened.access.clone(),
        contents: Arc::new(contents),
        scope: opened.scope.child("projects"),
    };
    let config = project::Config {
        revoked_keep: config.uploads.tombstone_keep,
    };
    project::mount(deps, config)
}

fn feeds(config: &Config, opened: &Opened, cancels: Cancels, auth: Authenticator) -> feed::Deps {
    feed::Deps {
        hub: opened.hub.clone(),
        access: opened.access.clone(),
        keep: config.event_keep,
        cancel: Arc::new(cancels),
        cors: config.cors.clone(),
        origin: config.origin.clone(),
        auth,
    }
}

fn upload_config(config: &Config) -> upload::Config {
    use tidegate_protocol::dialect::Settings;
    use tidegate_protocol::upload::Limits;

    let limits = config.uploads;
    upload::Config {
        settings: Settings {
            limits: Limits {
                size_max: limits.upload_bytes_max,
                append_max: limits.append_bytes_max,
                append_min: limits.append_bytes_min,
                checkpoint_bytes: limits.checkpoint_bytes,
            },
            metadata_bytes_max: limits.metadata_bytes_max,
            expires_after: Some(limits.expires_after.as_secs()),
            interop_max: limits.interop_max,
        },
        interims_max: limits.interims_max,
        images_max: limits.images_max,
        streams_max: limits.streams_max,
        creations_per_second: limits.creations_per_second,
        skip_bytes_max: config.drain.bytes,
        digest: config.digest == Digest::Sha256,
        expires_after: limits.expires_after,
        tombstone_keep: limits.tombstone_keep,
        checkpoint_interval: limits.checkpoint_interval,
        stall: StallLimits {
            timeout: limits.stall_timeout,
            rate_min: limits.rate_min,
        },
        cors: config.cors.clone(),
        origin: config.origin.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::app::place::Access;
    use crate::auth::Capabilities;
    use crate::clock;
    use crate::config::{self, Command, Invocation};

    /// A row for each route: what each kind of caller is answered there.
    const MATRIX: &str = include_str!("../../tests/it/matrix.txt");

    /// What is not in it may be open to everybody, and nobody has looked.
    #[tokio::test]
    async fn every_route_has_a_row_in_the_matrix_of_callers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let command = config::parse(["tidegate", "serve", "--data-dir", path]);
        let Ok(Invocation::Operator(command)) = command else {
            panic!("{command:?}");
        };
        let Command::Serve(config) = *command else {
            panic!("{command:?}");
        };
        let opened = Opened::open(&config, Access::Make).await.unwrap();
        let auth = Authenticator::new(None, Capabilities::new(&[0; 32], clock::unix_ms));
        let (mounts, _) = all(&config, &opened, auth, Metrics::new(), true).unwrap();
        let routes = mounts.into_iter().flat_map(|mount| mount.routes);
        let routes: BTreeSet<_> = routes.map(|route| route.to_string()).collect();
        let rows = MATRIX.lines().filter(|line| !line.starts_with('#'));
        let rows = rows.filter_map(|line| {
            let mut words = line.split_whitespace();
            let (method, path) = (words.next()?, words.next()?);
            let own = format!("{method} {path}");
            Some(match routes.contains(&own) {
                true => own,
                false => format!("any {path}"),
            })
        });
        assert_eq!(rows.collect::<BTreeSet<_>>(), routes, "tests/it/matrix.txt");
        opened.db.close().await;
    }
}
