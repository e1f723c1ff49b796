//! Who is sent events.

use std::collections::HashSet;

use http::Uri;
use http::uri::Scheme;

use super::args::Webhook;
use super::resolve::{Result, is_web_url, wrong};
use crate::event::Filter;
use crate::http::Reach;
use crate::webhook::EndpointConfig;

/// Each reads the feeds for itself.
const COUNT_MAX: usize = 16;

const NAME_LENGTH_MAX: usize = 64;

pub(super) fn endpoints(webhooks: Vec<Webhook>) -> Result<Vec<EndpointConfig>> {
    if webhooks.len() > COUNT_MAX {
        let why = format!("is there {} times: {COUNT_MAX} is the most", webhooks.len());
        return Err(wrong("webhook", &why));
    }
    let mut names = HashSet::new();
    for webhook in &webhooks {
        if !names.insert(&webhook.name) {
            return Err(wrong(
                "webhook",
                &format!("`{}` is there twice", webhook.name),
            ));
        }
    }
    webhooks.into_iter().map(endpoint).collect()
}

fn endpoint(webhook: Webhook) -> Result<EndpointConfig> {
    let Webhook {
        name,
        url,
        secret_file,
        types,
        allow_private,
    } = webhook;
    let refuse = |why: &str| {
        Err(wrong(
            "webhook",
            &format!("`{}` {why}", name.escape_debug()),
        ))
    };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=NAME_LENGTH_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
        return refuse("is no name: it has 1 to 64 letters a to z, digits and `-`");
    }
    let uri = url.parse::<Uri>().ok().filter(|_| is_web_url(&url));
    let Some(url) = uri else {
        return refuse("needs a `url` such as https://example.org/hook, without a user in it");
    };
    if url.scheme() != Some(&Scheme::HTTPS) && !allow_private {
        return refuse("needs a `url` with https://, or `allow-private = true`");
    }
    let filter = match types.map(|types| types.join(",").parse::<Filter>()) {
        None => Filter::ALL,
        Some(Ok(filter)) => filter,
        Some(Err(error)) => return refuse(&format!("is wrong: `types` {error}")),
    };
    if !filter.wants_logged() {
        return refuse("would be sent nothing: its `types` are told live only");
    }
    let reach = match allow_private {
        true => Reach::Anywhere,
        false => Reach::Public,
    };
    Ok(EndpointConfig {
        name,
        url,
        secret_file,
        filter,
        reach,
    })
}
