//! Names of clusters, streams, topics and groups, checked once where they enter.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::limits::{
    CLUSTER_NAME_LENGTH_MAX, GROUP_ID_LENGTH_MAX, KAFKA_NAME_LENGTH_MAX,
    TRANSACTIONAL_ID_LENGTH_MAX,
};

const LEGAL: &str = "letters, digits, '.', '_' and '-'";

fn check_word(what: &str, text: &str) -> Result<(), Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() {
        return Err(Error::invalid(format!("a {what} is empty; use {LEGAL}")));
    }
    if text == "." || text == ".." {
        return Err(Error::invalid(format!("\"{text}\" is not a {what}; no path goes up")));
    }
    if !text.chars().all(legal) {
        return Err(Error::invalid(format!("\"{text}\" is not a {what}; use {LEGAL}")));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let check: fn(&str) -> Result<(), Error> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// A cluster's name, as in `/mapr/<name>/…`.
    ClusterName, |text| {
        check_word("cluster name", text)?;
        if text.len() > CLUSTER_NAME_LENGTH_MAX {
            return Err(Error::invalid(format!(
                "the cluster name is longer than {CLUSTER_NAME_LENGTH_MAX} characters; shorten it"
            )));
        }
        Ok(())
    }
}

name! {
    /// A topic's bare name within its stream.
    TopicName, |text| {
        check_word("topic name", text)?;
        if text.len() > KAFKA_NAME_LENGTH_MAX {
            return Err(Error::invalid(format!(
                "the topic name is longer than {KAFKA_NAME_LENGTH_MAX} characters; shorten it"
            )));
        }
        Ok(())
    }
}

name! {
    /// A stream's path within its cluster: `/activity`, `/apps/orders`.
    StreamPath, |text| {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(Error::invalid(format!(
                "\"{text}\" is not a stream's path; it starts with '/', for example /activity"
            )));
        };
        if text == "/mapr" || text.starts_with("/mapr/") {
            return Err(Error::invalid(
                "a path under /mapr names a cluster; give /mapr/<cluster>/<stream>",
            ));
        }
        if text.len() > KAFKA_NAME_LENGTH_MAX {
            return Err(Error::invalid(format!(
                "the stream's path is longer than {KAFKA_NAME_LENGTH_MAX} characters; shorten it"
            )));
        }
        rest.split('/').try_for_each(|part| check_word("part of a stream's path", part))
    }
}

name! {
    /// A consumer group's id: any text that is not empty.
    GroupId, |text| {
        if text.is_empty() || text.len() > GROUP_ID_LENGTH_MAX {
            return Err(Error::invalid(format!(
                "a consumer group's id has 1 to {GROUP_ID_LENGTH_MAX} bytes"
            )));
        }
        Ok(())
    }
}

name! {
    /// The name under which a producer's transactions go on after a restart: any text that is not
    /// empty. It means something in one cluster only.
    TransactionalId, |text| {
        if text.is_empty() || text.len() > TRANSACTIONAL_ID_LENGTH_MAX {
            return Err(Error::invalid(format!(
                "a transactional id has 1 to {TRANSACTIONAL_ID_LENGTH_MAX} bytes"
            )));
        }
        Ok(())
    }
}

/// A stream as a person names it: `/activity` here, `/mapr/newyork/activity` from anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamRef {
    /// The cluster, if the path named one.
    pub cluster: Option<ClusterName>,
    /// The path within that cluster.
    pub path: StreamPath,
}

impl FromStr for StreamRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Some(rest) = text.strip_prefix("/mapr/") else {
            return Ok(Self { cluster: None, path: text.parse()? });
        };
        let Some((cluster, _)) = rest.split_once('/') else {
            return Err(Error::invalid(format!(
                "\"{text}\" names a cluster but no stream; give /mapr/<cluster>/<stream>"
            )));
        };
        Ok(Self { cluster: Some(cluster.parse()?), path: rest[cluster.len()..].parse()? })
    }
}

impl fmt::Display for StreamRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cluster {
            Some(cluster) => write!(f, "/mapr/{cluster}{}", self.path),
            None => self.path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_name_its_cluster() {
        let there: StreamRef = "/mapr/newyork/apps/orders".parse().unwrap();
        assert_eq!(there.cluster.as_ref().unwrap().as_str(), "newyork");
        assert_eq!(there.path.as_str(), "/apps/orders");
        assert_eq!(there.to_string(), "/mapr/newyork/apps/orders");
        let here: StreamRef = "/activity".parse().unwrap();
        assert_eq!((here.cluster, here.path.as_str()), (None, "/activity"));
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_way_out() {
        for bad in [
            "", "/", "activity", "/a//b", "/a/", "/a/../b", "/.", "/a:b", "/a b", "/mapr",
            "/mapr/x",
        ] {
            let error = bad.parse::<StreamRef>().expect_err(bad);
            assert!(error.message().len() > 20, "{error}");
        }
        assert!("/mapr/x/../y".parse::<StreamRef>().is_err());
        assert!("a/b".parse::<TopicName>().is_err());
        assert!("..".parse::<TopicName>().is_err());
        assert!("".parse::<GroupId>().is_err());
    }
}
