//! Grants, which a destination gives to an autosetup or a copy, and the autosetup itself.

use mainstem_api::Arguments;
use mainstem_catalog::{Command, GrantId, NewSetup, SetupKind};
use mainstem_env::{Clock, Random};
use mainstem_types::{Error, JobId, StreamId};
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::settings::{notes, replica_settings};
use crate::stream::row;

/// How long a grant may wait for its first use: over a weekend without the network.
const GRANT_LIFE_MS: i64 = 7 * 24 * 3600 * 1000;

impl AdminDoor {
    pub(crate) async fn issue_grant(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let replica_path = self.local_path(arguments, "path")?;
        let (multimaster, use_existing) = modes(arguments)?;
        let copy = arguments.boolean("copy").unwrap_or(false);
        let random: &dyn Random = &*self.env.random;
        let clock: &dyn Clock = &*self.env.clock;
        // A copy takes the destination as it is, or makes it.
        let use_existing = use_existing || (copy && catalog.stream_at(&replica_path).is_some());
        let replica_id = if use_existing {
            catalog.expect_stream_at(&replica_path)?.id
        } else {
            StreamId::from_random(random.next_u128())
        };
        let grant = GrantId::from_bytes(random.next_u128().to_be_bytes());
        let command = Command::IssueGrant {
            grant,
            replica_path,
            replica_id,
            source: self.place(&catalog, arguments, "source")?,
            source_id: arguments.required("sourceuuid")?,
            multimaster,
            use_existing,
            copy,
            expires_ms: clock.wall_ms() + GRANT_LIFE_MS,
        };
        self.engine.change(command).await?;
        let hex = format!("{:032x}", u128::from_be_bytes(grant.to_bytes()));
        Ok(vec![row(json!({"grant": hex, "replicauuid": replica_id.to_string()}))])
    }

    pub(crate) async fn autosetup(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let replica = self.place(&catalog, arguments, "replica")?;
        let (multimaster, use_existing) = modes(arguments)?;
        let grant = arguments.text("grant").map(parse_grant).transpose()?;
        let replica_id: Option<StreamId> = arguments.parsed("replicauuid")?;
        if grant.is_none() || replica_id.is_none() {
            return Err(Error::invalid(
                "autosetup needs what the destination grants: use the command line, or ask the \
                 destination for /rest/stream/grant and give its -grant and -replicauuid here",
            ));
        }
        let setup = NewSetup {
            job: JobId::from_random(self.env.random.next_u128()),
            kind: SetupKind::Autosetup,
            grant,
            multimaster,
            direct_copy: arguments.boolean("directcopy").unwrap_or(true),
            use_existing,
            reads: 0,
        };
        let command = Command::AddReplica {
            stream: stream.id,
            replica,
            replica_id,
            settings: replica_settings(arguments)?,
            paused: false,
            setup: Some(setup),
        };
        self.engine.change(command).await?;
        notes(arguments)
    }
}

/// `-multimaster` and `-useexistingreplica`, which exclude each other.
fn modes(arguments: &Arguments) -> Result<(bool, bool), Error> {
    let yes = |flag| arguments.boolean(flag).unwrap_or(false);
    let (multimaster, use_existing) = (yes("multimaster"), yes("useexistingreplica"));
    if multimaster && use_existing {
        return Err(Error::invalid(
            "-multimaster true and -useexistingreplica true exclude each other; leave one out",
        ));
    }
    if use_existing && arguments.boolean("directcopy") == Some(false) {
        return Err(Error::invalid(
            "-useexistingreplica true needs -directcopy true; leave -directcopy out",
        ));
    }
    Ok((multimaster, use_existing))
}

pub(crate) fn parse_grant(hex: &str) -> Result<GrantId, Error> {
    let bits = u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32);
    bits.map(|bits| GrantId::from_bytes(bits.to_be_bytes()))
        .ok_or_else(|| Error::invalid("-grant is not what /rest/stream/grant gives; ask it again"))
}
