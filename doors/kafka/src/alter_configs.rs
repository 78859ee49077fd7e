//! Settings of topics changed, as a whole or step by step.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_catalog::{Command, TopicPatch};
use mainstem_types::limits::METADATA_LENGTH_MAX;
use mainstem_wire::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource,
    IncrementalAlterConfigsResponse, KafkaError,
};

use crate::answer::{Refusal, code};
use crate::configs::{
    TIMESTAMP_TYPE, TOPIC, check_topic_config, check_topic_config_name, is_list, topic_configs,
};
use crate::context::Context;
use crate::names::Found;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// What a topic's settings are to be; none for the default.
type Patch = BTreeMap<String, Option<String>>;

/// All that a topic has of its own, anew: what is not mentioned goes back to the default.
pub(crate) async fn whole(ctx: &Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::new();
    for resource in request.resources {
        let patch = |found: &Found| whole_patch(found, &resource);
        let (kind, name) = (resource.resource_type, &resource.resource_name);
        responses.push(alter(ctx, kind, name, request.validate_only, patch).await);
    }
    AlterConfigsResponse { responses, ..Default::default() }
}

/// Only what is mentioned.
pub(crate) async fn by_steps(
    ctx: &Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::new();
    for resource in request.resources {
        let patch = |found: &Found| steps_patch(found, &resource);
        let (kind, name) = (resource.resource_type, &resource.resource_name);
        responses.push(alter(ctx, kind, name, request.validate_only, patch).await);
    }
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

fn whole_patch(found: &Found, resource: &AlterConfigsResource) -> Result<Patch, Refusal> {
    check_given(resource.configs.iter().map(|config| (&config.name, config.value.as_ref())))?;
    let own = found.topic.config.keys().map(|name| (name.clone(), None));
    let given = resource.configs.iter().map(|config| (config.name.clone(), config.value.clone()));
    Ok([(TIMESTAMP_TYPE.to_owned(), None)].into_iter().chain(own).chain(given).collect())
}

/// What is looked at before any value is worked with: so there are few, and none is long.
fn check_given<'a>(
    given: impl Iterator<Item = (&'a String, Option<&'a String>)>,
) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for (name, value) in given {
        check_topic_config_name(name).map_err(|sentence| (KafkaError::InvalidConfig, sentence))?;
        if !seen.insert(name) {
            let sentence = format!("the request names {name} more than once");
            return Err((KafkaError::InvalidRequest, sentence));
        }
        if value.is_some_and(|value| value.len() > METADATA_LENGTH_MAX) {
            let sentence = format!("{name} is given more than {METADATA_LENGTH_MAX} bytes");
            return Err((KafkaError::InvalidConfig, sentence));
        }
    }
    Ok(())
}

fn steps_patch(
    found: &Found,
    resource: &IncrementalAlterConfigsResource,
) -> Result<Patch, Refusal> {
    check_given(resource.configs.iter().map(|step| (&step.name, step.value.as_ref())))?;
    let mut patch = Patch::new();
    for step in &resource.configs {
        let refuse = |sentence: String| Err((KafkaError::InvalidConfig, sentence));
        let now = || {
            let known = topic_configs(found).into_iter().find(|known| known.name == step.name);
            known.map(|known| known.value).unwrap_or_default()
        };
        let value = match (step.config_operation, &step.value) {
            (DELETE, _) => None,
            (SET, Some(value)) => Some(value.clone()),
            (APPEND | SUBTRACT, Some(value)) if is_list(&step.name) => {
                let now = now();
                Some(changed_list(&now, value, step.config_operation == APPEND))
            }
            (APPEND | SUBTRACT, Some(_)) => {
                return refuse(format!("{} is not a list; set it", step.name));
            }
            (operation, _) => {
                return refuse(format!("operation {operation} on {} needs a value", step.name));
            }
        };
        patch.insert(step.name.clone(), value);
    }
    Ok(patch)
}

fn changed_list(now: &str, value: &str, is_added: bool) -> String {
    let given: BTreeSet<&str> = words(value).collect();
    let mut list: Vec<&str> = words(now).filter(|word| !given.contains(word)).collect();
    if is_added {
        list.extend(words(value));
    }
    list.join(",")
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

async fn alter(
    ctx: &Context,
    resource_type: i8,
    resource_name: &str,
    validate_only: bool,
    patch: impl Fn(&Found) -> Result<Patch, Refusal>,
) -> AlterConfigsResourceResponse {
    let (error_code, error_message) =
        match try_alter(ctx, resource_type, resource_name, validate_only, patch).await {
            Ok(()) => (0, None),
            Err((error_code, sentence)) => (error_code, Some(sentence)),
        };
    let resource_name = resource_name.to_owned();
    AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
}

async fn try_alter(
    ctx: &Context,
    resource_type: i8,
    resource_name: &str,
    validate_only: bool,
    patch: impl Fn(&Found) -> Result<Patch, Refusal>,
) -> Result<(), (i16, String)> {
    let refuse = |(error, sentence): Refusal| (error.code(), sentence);
    if resource_type != TOPIC {
        let sentence = "only settings of topics can be changed; a broker's stand in its file";
        return Err(refuse((KafkaError::InvalidRequest, sentence.to_owned())));
    }
    let catalog = ctx.node.catalog();
    let found = ctx.names(&catalog).resolve(resource_name).found().ok_or_else(|| {
        let sentence = format!("there is no topic {resource_name} here");
        refuse((KafkaError::UnknownTopicOrPartition, sentence))
    })?;
    let mut config = patch(&found).map_err(refuse)?;
    for (name, value) in &config {
        let checked = value.as_ref().map_or(Ok(()), |value| check_topic_config(name, value));
        checked.map_err(|sentence| refuse((KafkaError::InvalidConfig, sentence)))?;
    }
    // A property of the topic, not a mere setting: to go back is to be given the stream's default.
    let timestamp_type = config.remove(TIMESTAMP_TYPE).map(|value| match value {
        Some(value) => value.parse().expect("the setting's words are the type's names"),
        None => found.stream.settings.default_timestamp_type,
    });
    let command = Command::EditTopic {
        stream: found.stream.id,
        topic: found.topic.origin,
        patch: TopicPatch { timestamp_type, config, ..Default::default() },
    };
    let told = |error: mainstem_types::Error| (code(&error), error.to_string());
    if validate_only {
        let random = || ctx.node.env.random.next_u128();
        let now_ms = ctx.node.env.clock.wall_ms();
        return catalog.decide(&command, &random, now_ms).map(drop).map_err(told);
    }
    ctx.node.engine.change(command).await.map(drop).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_added_once_and_taken_away() {
        assert_eq!(changed_list("delete", "compact", true), "delete,compact");
        assert_eq!(changed_list("delete, compact", "compact", true), "delete,compact");
        assert_eq!(changed_list("compact,delete", "delete", false), "compact");
    }
}
