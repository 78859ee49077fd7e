//! What members ask and what they are told.

use bytes::Bytes;
use mainstem_types::GroupId;

/// Who waits for an answer: a number that the caller chose and will know again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiter(pub u64);

/// One way of sharing out work that a member knows, with what it says of itself in that way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// For example `range`.
    pub name: String,
    /// Opaque here; the group's leader reads it.
    pub metadata: Bytes,
}

/// A request to become or stay a member.
#[derive(Clone, Debug)]
pub struct JoinGroup {
    /// Which group.
    pub group: GroupId,
    /// Empty for a newcomer.
    pub member_id: String,
    /// A static member's lasting name.
    pub instance_id: Option<String>,
    /// The client's own name, shown in descriptions and used in member ids.
    pub client_id: String,
    /// Where it calls from, shown in descriptions.
    pub client_host: String,
    /// Silence after which it is taken for dead, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long it may take to rejoin, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, …: opaque, but one for all members.
    pub protocol_type: String,
    /// Best first.
    pub protocols: Vec<Protocol>,
    /// A newcomer is first told its id and joins with it (since version 4 of the request).
    pub member_id_required: bool,
    /// A returning static leader can be told to assign nothing (since version 9).
    pub skips_assignment: bool,
    /// Random bits for a newcomer's id.
    pub fresh_id: u128,
}

/// A member's call for its assignment; the leader's brings everyone's.
#[derive(Clone, Debug)]
pub struct SyncGroup {
    /// Which group.
    pub group: GroupId,
    /// Which member, in which generation.
    pub member: MemberRef,
    /// What the member takes the protocol type for, since version 5.
    pub protocol_type: Option<String>,
    /// What it takes the protocol for, since version 5.
    pub protocol: Option<String>,
    /// (member id, assignment), from the leader.
    pub assignments: Vec<(String, Bytes)>,
}

/// How a member names itself once it has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRef {
    /// The id that it was given.
    pub member_id: String,
    /// Its lasting name, if it has one.
    pub instance_id: Option<String>,
    /// The generation in which it speaks; negative outside of any group.
    pub generation: i32,
}

/// An answer that was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To a join.
    Joined {
        /// Whom to tell.
        waiter: Waiter,
        /// What.
        result: Result<Joined, JoinRefused>,
    },
    /// To a sync.
    Synced {
        /// Whom to tell.
        waiter: Waiter,
        /// What.
        result: Result<Synced, GroupError>,
    },
}

/// Membership in a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Rises with every rebalance.
    pub generation: i32,
    /// The members' protocol type.
    pub protocol_type: String,
    /// The chosen protocol, known to all members.
    pub protocol: String,
    /// The leader's member id.
    pub leader: String,
    /// The member's own id.
    pub member_id: String,
    /// Everyone, for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
    /// The leader has nothing to assign: the assignments stand.
    pub skip_assignment: bool,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its lasting name.
    pub instance_id: Option<String>,
    /// What it said of itself under the chosen protocol.
    pub metadata: Bytes,
}

/// A refused join, with the id to use for the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id the member gave or was given.
    pub member_id: String,
}

/// A member's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The members' protocol type.
    pub protocol_type: String,
    /// The chosen protocol.
    pub protocol: String,
    /// Opaque: what the leader gave this member.
    pub assignment: Bytes,
}

/// A group as tools see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Kafka's word for the state.
    pub state: &'static str,
    /// The members' protocol type.
    pub protocol_type: String,
    /// The chosen protocol; empty between generations.
    pub protocol: String,
    /// The members.
    pub members: Vec<MemberDescription>,
}

/// A member as tools see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its lasting name.
    pub instance_id: Option<String>,
    /// The client's own name.
    pub client_id: String,
    /// Where it calls from.
    pub client_host: String,
    /// What it said of itself under the chosen protocol.
    pub metadata: Bytes,
    /// Its share.
    pub assignment: Bytes,
}

/// Why a coordinator refuses, in Kafka's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupError {
    /// The member speaks of a generation that is not the present one.
    IllegalGeneration,
    /// Its protocols have nothing in common with the other members'.
    InconsistentProtocol,
    /// No such member.
    UnknownMember,
    /// The session time-out is outside the limits.
    InvalidSessionTimeout,
    /// Rejoin first.
    RebalanceInProgress,
    /// The group has members.
    NonEmpty,
    /// No such group.
    NotFound,
    /// Join again with the id that comes with this.
    MemberIdRequired,
    /// A limit is reached: members of a group, groups, or bytes.
    Full,
    /// Another process has taken over this static member's name.
    FencedInstance,
}

impl GroupError {
    /// The Kafka error code: one row each.
    pub const fn kafka_code(self) -> i16 {
        match self {
            Self::IllegalGeneration => 22,
            Self::InconsistentProtocol => 23,
            Self::UnknownMember => 25,
            Self::InvalidSessionTimeout => 26,
            Self::RebalanceInProgress => 27,
            Self::NonEmpty => 68,
            Self::NotFound => 69,
            Self::MemberIdRequired => 79,
            Self::Full => 81,
            Self::FencedInstance => 82,
        }
    }
}
